#include "core/file/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/file/atomic_file.h"
#include "core/float8.h"

namespace elastron {

namespace {

constexpr int64_t kBufferBytes = int64_t(4) << 20;
// Between short runs: to read what lies there costs less than to leave it out.
constexpr int64_t kShortGap = int64_t(64) << 10;

// IEEE half precision; a storage type that is only read.
struct Half {
  uint16_t bits;
  explicit operator float() const {
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 31u, mantissa = bits & 1023u;
    if (exponent == 0) {
      const float magnitude = float(mantissa) * 0x1p-24f;
      return sign != 0 ? -magnitude : magnitude;
    }
    return std::bit_cast<float>(exponent == 31 ? sign | 0x7f800000u | mantissa << 13
                                               : sign | (exponent + 112) << 23 | mantissa << 13);
  }
  explicit operator double() const { return double(float(*this)); }
};

template <class To, class From>
To convert_one(From value) {
  if constexpr (std::is_same_v<To, bf16> && std::is_same_v<From, double>) {
    // Through float with rounding to odd, so that rounding twice gives what rounding once would.
    float near = float(value);
    if (std::isfinite(near) && double(near) != value) {
      uint32_t bits = std::bit_cast<uint32_t>(near);
      if (std::abs(double(near)) > std::abs(value)) --bits;
      near = std::bit_cast<float>(bits | 1u);
    }
    return bf16(near);
  } else if constexpr (std::is_same_v<To, bf16>) {
    return bf16(float(value));
  } else if constexpr (std::is_same_v<From, bf16>) {
    return To(float(value));
  } else {
    return To(value);
  }
}

// The source may lie anywhere: safetensors does not promise alignment.
template <class From, class To>
void convert_run(const std::byte* from, std::byte* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, from + size_t(i) * sizeof(From), sizeof(From));
    const To converted = convert_one<To>(value);
    std::memcpy(to + size_t(i) * sizeof(To), &converted, sizeof(To));
  }
}

template <class From>
void convert_from(const std::byte* from, DType dtype, std::byte* to, int64_t count) {
  switch (dtype) {
    case DType::f64: return convert_run<From, double>(from, to, count);
    case DType::f32: return convert_run<From, float>(from, to, count);
    case DType::bf16: return convert_run<From, bf16>(from, to, count);
    default: throw LogicError("not a floating-point tensor");
  }
}

bool same_layout(Storage storage, DType dtype) {
  if (storage == Storage::e4m3) return dtype == DType::e4m3;
  return storage != Storage::f16 && dtype_of_storage(storage) == dtype;
}

void convert(Storage storage, const std::byte* from, DType dtype, std::byte* to, int64_t count) {
  if (same_layout(storage, dtype)) {
    std::memcpy(to, from, size_t(count) * storage_size(storage));
    return;
  }
  switch (storage) {
    case Storage::f64: return convert_from<double>(from, dtype, to, count);
    case Storage::f32: return convert_from<float>(from, dtype, to, count);
    case Storage::f16: return convert_from<Half>(from, dtype, to, count);
    case Storage::bf16: return convert_from<bf16>(from, dtype, to, count);
    case Storage::e4m3: return convert_from<e4m3>(from, dtype, to, count);
    default: throw LogicError("integers are not converted");
  }
}

// The same of a quantised matrix with `columns` columns, from its element number `first` on. A row's
// part of a block has one scale.
void convert_scaled(Storage storage, const std::byte* from, const WeightScale& scale,
                    int64_t columns, int64_t first, DType dtype, std::byte* to, int64_t count) {
  const size_t stored = storage_size(storage), held = dtype_size(dtype);
  std::vector<float> values(static_cast<size_t>(scale.in_block));
  for (int64_t i = 0; i < count;) {
    const int64_t row = (first + i) / columns, column = (first + i) % columns;
    const int64_t block = column / scale.in_block;
    const int64_t n =
        std::min({count - i, columns - column, (block + 1) * scale.in_block - column});
    auto* bytes = reinterpret_cast<std::byte*>(values.data());
    convert(storage, from + size_t(i) * stored, DType::f32, bytes, n);
    const float by =
        scale.values.data<float>()[row / scale.out_block * scale.values.size(1) + block];
    for (int64_t j = 0; j < n; ++j) values[size_t(j)] *= by;
    convert(Storage::f32, bytes, dtype, to + size_t(i) * held, n);
    i += n;
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path)
    : file_(path), header_(read_safetensors_header(file_)) {}

void SafetensorsFile::read_raw(const SafetensorsEntry& entry, uint64_t offset,
                               std::span<std::byte> out) const {
  ELASTRON_CHECK(offset + out.size() <= entry.end - entry.begin, "reads beyond the tensor");
  file_.read_at(header_.data_begin + entry.begin + offset, out);
}

void SafetensorsFile::check_read(const std::string& name, const Shape& logical,
                                 const WeightScale& scale) const {
  const auto it = entries().find(name);
  ELASTRON_CHECK(it != entries().end() && it->second.shape == logical,
                 "tensor not checked: " + name);
  ELASTRON_CHECK(!scale.defined() ||
                     (logical.rank() == 2 && scale.in_block > 0 &&
                      scale.values.shape() == WeightScale::shape(logical[0], logical[1],
                                                                 scale.out_block, scale.in_block)),
                 "a scale that does not fit " + name);
}

void SafetensorsFile::read(const std::string& name, const Shape& logical,
                           const Partition& partition, Tensor& out, const OnSlice& on_slice,
                           const WeightScale& scale) const {
  check_read(name, logical, scale);
  ELASTRON_CHECK(out.shape() == local_shape(logical, partition) && out.contiguous(),
                 "wrong destination for " + name);
  if (out.numel() == 0) return;
  if (out.device().kind() != DeviceKind::cpu) {
    Tensor host = Tensor::empty(out.shape(), out.dtype(), host_device());
    read(name, logical, partition, host, on_slice, scale);
    out.transfer_from(host);
    return;
  }
  // As [outer, split, inner] around the split dim: `outer` runs of count * inner elements each.
  // A tensor that is not split is one run.
  const int dim = partition.replicated() ? 0 : partition.dim;
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < dim; ++i) outer *= logical[i];
  for (int i = dim + 1; i < logical.rank(); ++i) inner *= logical[i];
  const int64_t whole = logical.rank() == 0 ? 1 : logical[dim];
  const int64_t begin = partition.replicated() ? 0 : partition.offset;
  const int64_t size = partition.replicated() ? whole : partition.size;
  read_runs(entries().at(name),
            {.first = begin * inner, .outer = outer, .run = size * inner, .stride = whole * inner},
            out, on_slice, scale);
}

void SafetensorsFile::read_window(const std::string& name, const Shape& logical,
                                  const Window& window, Tensor& out, const OnSlice& on_slice,
                                  const WeightScale& scale) const {
  check_read(name, logical, scale);
  const auto& [r0, r1, c0, c1] = window;
  ELASTRON_CHECK(logical.rank() == 2 && r0 >= 0 && r1 <= logical[0] && c0 >= 0 && c1 <= logical[1],
                 "a window beyond " + name);
  ELASTRON_CHECK(out.shape() == (Shape{r1 - r0, c1 - c0}) && out.contiguous() &&
                     out.device().kind() == DeviceKind::cpu,
                 "wrong destination for " + name);
  if (out.numel() == 0) return;
  const int64_t columns = logical[1];
  const bool one_run = c1 - c0 == columns;
  read_runs(entries().at(name),
            {.first = r0 * columns + c0,
             .outer = one_run ? 1 : r1 - r0,
             .run = one_run ? out.numel() : c1 - c0,
             .stride = columns},
            out, on_slice, scale);
}

void SafetensorsFile::read_runs(const SafetensorsEntry& entry, const Runs& runs, Tensor& out,
                                const OnSlice& on_slice, const WeightScale& scale) const {
  const auto stored = int64_t(storage_size(entry.storage));
  const auto held = int64_t(dtype_size(out.dtype()));
  const int64_t first = runs.first * stored, stride = runs.stride * stored, run = runs.run;
  auto* to = static_cast<std::byte*>(out.raw());

  const auto slice = [&](uint64_t offset, std::span<std::byte> bytes) {
    const uint64_t at = entry.begin + offset, next = at + bytes.size();
    if (next < entry.end) {
      file_.will_read(header_.data_begin + next,
                      std::min<uint64_t>(bytes.size(), entry.end - next));
    }
    read_raw(entry, offset, bytes);
    if (on_slice) on_slice();
  };
  // `n` elements that begin at byte `offset` of the tensor, which `bytes` holds.
  const auto place = [&](const std::byte* bytes, int64_t offset, std::byte* at, int64_t n) {
    if (!scale.defined()) return convert(entry.storage, bytes, out.dtype(), at, n);
    convert_scaled(entry.storage, bytes, scale, entry.shape[1], offset / stored, out.dtype(), at,
                   n);
  };
  if (runs.outer == 1 && same_layout(entry.storage, out.dtype()) && !scale.defined()) {
    const auto bytes = uint64_t(run * stored);
    for (uint64_t at = 0; at < bytes; at += kSlice) {
      slice(uint64_t(first) + at, {to + at, size_t(std::min(kSlice, bytes - at))});
    }
    return;
  }
  // Several short runs are read at once, with what lies between them; a long one in pieces.
  const bool together = stride - run * stored < kShortGap;
  const int64_t runs_at_once =
      together ? std::clamp<int64_t>(kBufferBytes / stride, 1, runs.outer) : 1;
  const int64_t piece = std::min(run, std::max<int64_t>(kBufferBytes / stored, 1));
  const int64_t span =
      runs_at_once > 1 ? (runs_at_once - 1) * stride + run * stored : piece * stored;
  std::vector<std::byte> buffer(static_cast<size_t>(span));
  for (int64_t o = 0; o < runs.outer; o += runs_at_once) {
    const int64_t count = std::min(runs_at_once, runs.outer - o);
    const int64_t from = first + o * stride;
    if (count > 1) {
      slice(uint64_t(from), {buffer.data(), size_t((count - 1) * stride + run * stored)});
      for (int64_t r = 0; r < count; ++r) {
        place(buffer.data() + r * stride, from + r * stride, to + (o + r) * run * held, run);
      }
      continue;
    }
    for (int64_t i = 0; i < run; i += piece) {
      const int64_t n = std::min(piece, run - i);
      slice(uint64_t(from + i * stored), {buffer.data(), size_t(n * stored)});
      place(buffer.data(), from + i * stored, to + (o * run + i) * held, n);
    }
  }
}

Tensor SafetensorsFile::read(const std::string& name, Device& device) const {
  const auto it = entries().find(name);
  if (it == entries().end()) {
    throw InputError("tensor '" + name + "' is missing", path(), "use a complete file");
  }
  Tensor out = Tensor::empty(it->second.shape, dtype_of_storage(it->second.storage), device);
  read(name, it->second.shape, {}, out);
  return out;
}

void write_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  std::vector<std::span<const std::byte>> pieces(2);
  std::vector<Tensor> kept;  // what the pieces point into
  for (const auto& [name, given] : tensors) {
    ELASTRON_CHECK(given.contiguous(), "only contiguous tensors are written: " + name);
    const Tensor& tensor = kept.emplace_back(given.on_host());
    const char* dtype = "";
    for (const Storage s :
         {Storage::f64, Storage::f32, Storage::bf16, Storage::i64, Storage::i32, Storage::u8}) {
      if (same_layout(s, tensor.dtype())) dtype = storage_name(s);
    }
    header[name] = {{"dtype", dtype},
                    {"shape", tensor.shape().extents()},
                    {"data_offsets", {at, at + tensor.bytes()}}};
    at += tensor.bytes();
    pieces.emplace_back(static_cast<const std::byte*>(tensor.raw()), tensor.bytes());
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  pieces[0] = std::as_bytes(std::span(&length, 1));
  pieces[1] = std::as_bytes(std::span(text));
  write_file_atomically(path, pieces);
}

}  // namespace elastron
