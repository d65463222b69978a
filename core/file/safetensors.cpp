#include "core/file/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/file/atomic_file.h"
#include "core/json.h"

namespace elastron {

namespace {

using Storage = SafetensorsFile::Storage;

constexpr size_t kLargestHeader = size_t(64) << 20;

struct StorageName {
  Storage storage;
  const char* name;
  size_t bytes;
};
constexpr std::array<StorageName, 7> kStorages = {{{Storage::f64, "F64", 8},
                                                   {Storage::f32, "F32", 4},
                                                   {Storage::f16, "F16", 2},
                                                   {Storage::bf16, "BF16", 2},
                                                   {Storage::i64, "I64", 8},
                                                   {Storage::i32, "I32", 4},
                                                   {Storage::u8, "U8", 1}}};

size_t storage_bytes(Storage s) { return kStorages[size_t(s)].bytes; }

const std::string kRemedy = "the file may be damaged or cut off; copy it again";

uint64_t unsigned_number(const nlohmann::json& value, const std::string& what,
                         const std::string& where) {
  if (!value.is_number_unsigned()) throw InputError(what + " is not a whole number", where, kRemedy);
  return value.get<uint64_t>();
}

SafetensorsFile::Entry parse_entry(const nlohmann::json& object, const std::string& where) {
  if (!object.is_object() || object.size() != 3 || !object.contains("dtype") ||
      !object.contains("shape") || !object.contains("data_offsets")) {
    throw InputError("the entry must hold dtype, shape and data_offsets", where, kRemedy);
  }
  SafetensorsFile::Entry entry{};
  const auto& dtype = object["dtype"];
  const auto known = std::ranges::find_if(
      kStorages, [&](const StorageName& s) { return dtype.is_string() && dtype == s.name; });
  if (known == kStorages.end()) {
    throw InputError("dtype " + dtype.dump() + " is not supported", where,
                     "convert the file to F32, BF16 or F16");
  }
  entry.storage = known->storage;

  const auto& shape = object["shape"];
  if (!shape.is_array() || shape.size() > size_t(Shape::kMaxRank)) {
    throw InputError("the shape is not a list of at most 6 extents", where, kRemedy);
  }
  uint64_t bytes = known->bytes;
  std::vector<int64_t> extents;
  for (const auto& extent : shape) {
    const uint64_t e = unsigned_number(extent, "an extent", where);
    if (e > (uint64_t(1) << 40) || __builtin_mul_overflow(bytes, e, &bytes)) {
      throw InputError("the shape overflows", where, kRemedy);
    }
    extents.push_back(int64_t(e));
  }
  entry.shape = Shape(extents);

  const auto& offsets = object["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) {
    throw InputError("data_offsets is not a pair", where, kRemedy);
  }
  entry.begin = unsigned_number(offsets[0], "an offset", where);
  entry.end = unsigned_number(offsets[1], "an offset", where);
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    throw InputError("shape and data_offsets disagree", where, kRemedy);
  }
  return entry;
}

float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 31u, mantissa = h & 1023u;
  if (exponent == 0) {
    const float magnitude = float(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t bits = exponent == 31 ? sign | 0x7f800000u | mantissa << 13
                                       : sign | (exponent + 112) << 23 | mantissa << 13;
  return std::bit_cast<float>(bits);
}

template <class T> T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

double load_float(Storage storage, const std::byte* at) {
  switch (storage) {
    case Storage::f64: return load<double>(at);
    case Storage::f32: return double(load<float>(at));
    case Storage::f16: return double(half_to_float(load<uint16_t>(at)));
    case Storage::bf16: {
      bf16 value;
      value.bits = load<uint16_t>(at);
      return double(float(value));
    }
    default: throw LogicError("not a floating-point tensor");
  }
}

void store_float(DType dtype, void* out, int64_t index, double value) {
  switch (dtype) {
    case DType::f64: static_cast<double*>(out)[index] = value; return;
    case DType::f32: static_cast<float*>(out)[index] = float(value); return;
    case DType::bf16: static_cast<bf16*>(out)[index] = bf16(float(value)); return;
    default: throw LogicError("not a floating-point tensor");
  }
}

bool same_layout(Storage storage, DType dtype) {
  switch (storage) {
    case Storage::f64: return dtype == DType::f64;
    case Storage::f32: return dtype == DType::f32;
    case Storage::bf16: return dtype == DType::bf16;
    case Storage::i64: return dtype == DType::i64;
    case Storage::i32: return dtype == DType::i32;
    case Storage::u8: return dtype == DType::u8;
    case Storage::f16: return false;
  }
  return false;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const auto all = file_.bytes();
  if (all.size() < 8) throw InputError("the file has no header", path, kRemedy);
  const uint64_t header_bytes = load<uint64_t>(all.data());
  if (header_bytes > kLargestHeader || header_bytes > all.size() - 8) {
    throw InputError("the header length " + std::to_string(header_bytes) + " is out of range", path,
                     kRemedy);
  }
  data_begin_ = 8 + size_t(header_bytes);
  const std::string_view header(reinterpret_cast<const char*>(all.data()) + 8,
                                size_t(header_bytes));
  if (header.empty() || header.front() != '{') {
    throw InputError("the header is not a JSON object", path, kRemedy);
  }
  const auto root =
      parse_json_strict(header, path, {.max_bytes = kLargestHeader, .max_depth = 3});
  std::vector<std::pair<size_t, size_t>> ranges;
  for (const auto& [name, object] : root.items()) {
    if (name == "__metadata__") continue;
    const Entry entry = parse_entry(object, path + ", tensor " + name);
    ranges.emplace_back(entry.begin, entry.end);
    entries_.emplace(name, entry);
  }
  std::ranges::sort(ranges);
  size_t at = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != at) throw InputError("tensor data overlaps or has holes", path, kRemedy);
    at = end;
  }
  if (at != all.size() - data_begin_) {
    throw InputError("the data section has " + std::to_string(all.size() - data_begin_) +
                         " bytes, the header names " + std::to_string(at),
                     path, kRemedy);
  }
}

std::span<const std::byte> SafetensorsFile::bytes(const Entry& entry) const {
  return file_.bytes().subspan(data_begin_ + entry.begin, entry.end - entry.begin);
}

void SafetensorsFile::read(const std::string& name, const Shape& logical,
                           const Partition& partition, Tensor& out) const {
  const auto it = entries_.find(name);
  ELASTRON_CHECK(it != entries_.end() && it->second.shape == logical, "tensor not checked: " + name);
  ELASTRON_CHECK(out.shape() == local_shape(logical, partition) && out.contiguous() &&
                     out.device().kind() == DeviceKind::cpu,
                 "wrong destination for " + name);
  const Entry& entry = it->second;
  const std::byte* source = bytes(entry).data();
  const size_t element = storage_bytes(entry.storage);

  // As [outer, split, inner] around the split dim; everything is one run when not split.
  const int dim = partition.replicated() ? 0 : partition.dim;
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < dim; ++i) outer *= logical[i];
  for (int i = dim + 1; i < logical.rank(); ++i) inner *= logical[i];
  const int64_t whole = logical.rank() == 0 ? 1 : logical[dim];
  const int64_t begin = partition.replicated() ? 0 : partition.offset;
  const int64_t count = partition.replicated() ? whole : partition.size;
  const int64_t run = count * inner;
  for (int64_t o = 0; o < outer; ++o) {
    const std::byte* from = source + size_t((o * whole + begin) * inner) * element;
    if (same_layout(entry.storage, out.dtype())) {
      std::memcpy(static_cast<char*>(out.raw()) + size_t(o * run) * element, from,
                  size_t(run) * element);
    } else {
      for (int64_t i = 0; i < run; ++i) {
        store_float(out.dtype(), out.raw(), o * run + i,
                    load_float(entry.storage, from + size_t(i) * element));
      }
    }
  }
}

Tensor SafetensorsFile::read(const std::string& name, Device& device) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    throw InputError("tensor '" + name + "' is missing", path(), "use a complete file");
  }
  DType dtype = DType::f32;
  for (const DType t : {DType::f64, DType::bf16, DType::i64, DType::i32, DType::u8}) {
    if (same_layout(it->second.storage, t)) dtype = t;
  }
  Tensor out = Tensor::empty(it->second.shape, dtype, device);
  read(name, it->second.shape, {}, out);
  return out;
}

void write_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  size_t at = 0;
  std::vector<std::span<const std::byte>> pieces(2);
  for (const auto& [name, tensor] : tensors) {
    ELASTRON_CHECK(tensor.contiguous() && tensor.device().kind() == DeviceKind::cpu,
                   "only contiguous CPU tensors are written: " + name);
    const char* dtype = "";
    for (const StorageName& s : kStorages) {
      if (same_layout(s.storage, tensor.dtype())) dtype = s.name;
    }
    header[name] = {{"dtype", dtype},
                    {"shape", tensor.shape().extents()},
                    {"data_offsets", {at, at + tensor.bytes()}}};
    at += tensor.bytes();
    pieces.emplace_back(static_cast<const std::byte*>(tensor.raw()), tensor.bytes());
  }
  std::string text = tensors.empty() ? "{}" : header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  pieces[0] = std::as_bytes(std::span(&length, 1));
  pieces[1] = std::as_bytes(std::span(text));
  write_file_atomically(path, pieces);
}

}  // namespace elastron
