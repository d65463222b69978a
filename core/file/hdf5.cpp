#include "core/file/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/file/input_file.h"

namespace elastron {

namespace {

constexpr const char* kRemedy = "check the disk, or use another checkpoint";

static_assert(sizeof(hid_t) == sizeof(int64_t));

// Takes what failed and why out of "file write failed: time = ..., filename = ..., error message =
// 'No space left on device', buf = ..."; the rest is for the library's authors.
std::string for_people(std::string text) {
  const std::string reason = "error message = '";
  const size_t details = text.find(": time = "), begin = text.find(reason);
  if (details != text.npos && begin != text.npos) {
    const size_t from = begin + reason.size();
    return text.substr(0, details + 2) + text.substr(from, text.find('\'', from) - from);
  }
  if (const size_t tail = text.find(", buf = "); tail != text.npos) text.resize(tail);
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

// The innermost message of HDF5's error stack, which is then cleared: it is the one that says why,
// with the errno.
std::string library_message() {
  std::string text;
  const auto collect = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    auto& message = *static_cast<std::string*>(out);
    if (message.empty() && error->desc != nullptr) message = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "HDF5 error" : for_people(std::move(text));
}

[[noreturn]] void fail(const std::string& what, const std::string& where) {
  throw CheckpointError(what + ": " + library_message(), where, kRemedy);
}

template <class T>
T check(T value, const std::string& what, const std::string& where) {
  if (value < 0) fail(what, where);
  return value;
}

// An HDF5 handle with its closing function.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

void quiet() {
  static const bool once = [] {
    // HDF5's file locks fail on some network file systems; our files have one writer by design.
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    return true;
  }();
  (void)once;
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

// A file of ours starts with this, and is checked before the library sees it. HDF5 file format
// 3.0 (its specification, II.A): version 2 and 3, 8-byte offsets.
void check_superblock(const std::string& path) {
  const auto refuse = [&](const char* what) {
    throw CheckpointError(what, path, "the file is damaged or not a checkpoint; use another");
  };
  struct Superblock {
    std::array<unsigned char, 8> signature;
    uint8_t version, offset_bytes, length_bytes, flags;
    std::array<unsigned char, 36> addresses;  // base, extension, end of file, root; checksum
  } head;
  static_assert(sizeof head == 48);
  constexpr std::array<unsigned char, 8> kSignature = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  const InputFile file(path, ExitCode::checkpoint);
  if (file.size() < sizeof head) refuse("not an HDF5 file");
  file.read_at(0, std::as_writable_bytes(std::span(&head, 1)));
  if (head.signature != kSignature) refuse("not an HDF5 file");
  if (head.version < 2 || head.version > 3 || head.offset_bytes != 8 || head.length_bytes != 8) {
    refuse("an HDF5 file of another version than checkpoints are");
  }
  uint64_t base = 0, end = 0;
  std::memcpy(&base, head.addresses.data(), 8);
  std::memcpy(&end, head.addresses.data() + 16, 8);
  if (base != 0 || end != file.size())
    refuse("the file is cut off or something was appended to it");
}

hid_t memory_type(DType t) {
  switch (t) {
    case DType::f64: return H5T_NATIVE_DOUBLE;
    case DType::f32: return H5T_NATIVE_FLOAT;
    case DType::bf16: return H5T_NATIVE_UINT16;
    case DType::i64: return H5T_NATIVE_INT64;
    case DType::i32: return H5T_NATIVE_INT32;
    case DType::u8: return H5T_NATIVE_UINT8;
    case DType::e4m3: break;  // what is trained is written, and that is never in it
  }
  throw LogicError("unknown dtype");
}

hid_t file_type(DType t) {
  switch (t) {
    case DType::f64: return H5T_IEEE_F64LE;
    case DType::f32: return H5T_IEEE_F32LE;
    case DType::bf16: return H5T_STD_U16LE;
    case DType::i64: return H5T_STD_I64LE;
    case DType::i32: return H5T_STD_I32LE;
    case DType::u8: return H5T_STD_U8LE;
    case DType::e4m3: break;
  }
  throw LogicError("unknown dtype");
}

std::vector<hsize_t> extents_of(const Shape& shape) {
  return {shape.extents().begin(), shape.extents().end()};
}

Handle select(hid_t dataset, const Shape& shape, const std::vector<int64_t>& offset,
              const std::string& where) {
  hid_t space = check(H5Dget_space(dataset), "cannot read the dataset's shape", where);
  if (shape.rank() > 0) {
    const std::vector<hsize_t> start(offset.begin(), offset.end());
    const auto count = extents_of(shape);
    if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) <
            0 ||
        H5Sselect_valid(space) <= 0) {
      H5Sclose(space);
      fail("the block lies outside the dataset", where);
    }
  }
  return Handle(space, H5Sclose);
}

Handle memory_space(const Shape& shape) {
  const auto extents = extents_of(shape);
  return Handle(H5Screate_simple(shape.rank(), extents.data(), nullptr), H5Sclose);
}

// The part of a dataset that a tensor of that shape at that offset is, in the file and in memory.
struct Part {
  Part(hid_t id, const std::string& path, const Shape& shape, const std::vector<int64_t>& offset,
       const std::string& where)
      : dataset(H5Dopen2(id, path.c_str(), H5P_DEFAULT), H5Dclose),
        file((check<hid_t>(dataset, "cannot open the dataset", where),
              select(dataset, shape, offset, where))),
        memory(memory_space(shape)) {}
  Handle dataset, file, memory;
};

// Newer formats mark a file that is open for writing, in writes of the library's own. The caller
// closes it.
hid_t file_access() {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
  return access;
}

}  // namespace

Hdf5File Hdf5File::create(const std::string& path) {
  quiet();
  const Handle access(file_access(), H5Pclose);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(creation, false);
  return Hdf5File(path, check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access),
                              "cannot create the file", path));
}

Hdf5File Hdf5File::open(const std::string& path, bool writable) {
  quiet();
  check_superblock(path);
  const Handle access(file_access(), H5Pclose);
  return Hdf5File(path,
                  check(H5Fopen(path.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access),
                        "cannot open the file", path));
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)), id_(std::exchange(other.id_, -1)) {}

Hdf5File::~Hdf5File() {
  if (id_ >= 0) {
    H5Fclose(id_);
    H5Eclear2(H5E_DEFAULT);
  }
}

void Hdf5File::close() {
  // The library's own memory of the file is freed by the second call, whatever the first one says.
  std::string failure;
  if (H5Fflush(id_, H5F_SCOPE_LOCAL) < 0) failure = "cannot write the file: " + library_message();
  if (H5Fclose(std::exchange(id_, -1)) < 0 && failure.empty()) {
    failure = "cannot close the file: " + library_message();
  }
  if (!failure.empty()) {
    throw CheckpointError(failure, path_, kRemedy);
  }
}

void Hdf5File::make_dataset(const Hdf5Dataset& d) {
  const std::string where = path_ + d.path;
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(links, 1);
  const Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_layout(layout, H5D_CONTIGUOUS);
  H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(layout, false);
  const Handle space = memory_space(d.shape);
  const Handle dataset(
      H5Dcreate2(id_, d.path.c_str(), file_type(d.dtype), space, links, layout, H5P_DEFAULT),
      H5Dclose);
  check<hid_t>(dataset, "cannot make the dataset", where);
  if (d.dtype == DType::bf16) {
    const Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle mark(
        H5Acreate2(dataset, "bfloat16", H5T_STD_U8LE, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    const uint8_t one = 1;
    check(H5Awrite(mark, H5T_NATIVE_UINT8, &one), "cannot mark the dataset", where);
  }
}

void Hdf5File::write(const std::string& path, const Tensor& values,
                     const std::vector<int64_t>& offset) {
  const std::string where = path_ + path;
  ELASTRON_CHECK(values.contiguous() && values.device().kind() == DeviceKind::cpu,
                 "only contiguous CPU tensors are written");
  if (values.numel() == 0) return;
  const Part part(id_, path, values.shape(), offset, where);
  check(H5Dwrite(part.dataset, memory_type(values.dtype()), part.memory, part.file, H5P_DEFAULT,
                 values.raw()),
        "cannot write the dataset", where);
}

void Hdf5File::read(const std::string& path, Tensor& values, const std::vector<int64_t>& offset,
                    const OnSlice& on_slice) const {
  const std::string where = path_ + path;
  if (values.numel() == 0) return;
  const auto read_slice = [&](const Tensor& slice, const std::vector<int64_t>& at) {
    const Part part(id_, path, slice.shape(), at, where);
    check(H5Dread(part.dataset, memory_type(slice.dtype()), part.memory, part.file, H5P_DEFAULT,
                  slice.raw()),
          "cannot read the dataset", where);
    if (on_slice) on_slice();
  };
  if (values.rank() == 0) return read_slice(values, offset);
  const int64_t rows = values.size(0);
  const uint64_t row_bytes = values.bytes() / uint64_t(rows);
  const int64_t most = std::max<int64_t>(int64_t(kSlice / row_bytes), 1);
  std::vector<int64_t> at = offset;
  for (int64_t row = 0; row < rows; row += most) {
    at[0] = offset[0] + row;
    read_slice(values.slice(0, row, std::min(rows, row + most)), at);
  }
}

uint64_t Hdf5File::place(const std::string& path) const {
  const Handle dataset(H5Dopen2(id_, path.c_str(), H5P_DEFAULT), H5Dclose);
  check<hid_t>(dataset, "the dataset is missing", path_ + path);
  const haddr_t address = H5Dget_offset(dataset);
  if (address == HADDR_UNDEF) {
    throw CheckpointError("the dataset has no place in the file", path_ + path, kRemedy);
  }
  return address;
}

Hdf5Dataset Hdf5File::describe(const std::string& path) const {
  const std::string where = path_ + path;
  const Handle dataset(H5Dopen2(id_, path.c_str(), H5P_DEFAULT), H5Dclose);
  check<hid_t>(dataset, "the dataset is missing", where);
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = check(H5Sget_simple_extent_ndims(space), "cannot read the shape", where);
  if (rank > Shape::kMaxRank) {
    throw CheckpointError("the dataset has too many dims", where, "use another checkpoint");
  }
  std::vector<hsize_t> extents(size_t(rank), 0);
  check(H5Sget_simple_extent_dims(space, extents.data(), nullptr), "cannot read the shape", where);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  if (H5Pget_layout(creation) != H5D_CONTIGUOUS || H5Pget_nfilters(creation) != 0 ||
      H5Pget_external_count(creation) != 0) {
    throw CheckpointError("the dataset is not stored plainly", where,
                          "use a checkpoint that elastron wrote");
  }
  const Handle type(H5Dget_type(dataset), H5Tclose);
  Hdf5Dataset out;
  out.path = path;
  bool known = false;
  for (const DType t : {DType::f64, DType::f32, DType::i64, DType::i32, DType::u8, DType::bf16}) {
    if (H5Tequal(type, file_type(t)) > 0) {
      out.dtype = t;
      known = true;
    }
  }
  if (known && out.dtype == DType::bf16 && H5Aexists(dataset, "bfloat16") <= 0) known = false;
  if (!known) {
    throw CheckpointError("the dataset has an unknown type", where, "use another checkpoint");
  }
  std::vector<int64_t> sizes;
  uint64_t bytes = dtype_size(out.dtype);
  for (const hsize_t e : extents) {
    if (e > (hsize_t(1) << 40) || __builtin_mul_overflow(bytes, uint64_t(e), &bytes)) {
      throw CheckpointError("the dataset's shape overflows", where, "use another checkpoint");
    }
    sizes.push_back(int64_t(e));
  }
  out.shape = Shape(sizes);
  if (H5Dget_storage_size(dataset) != bytes) {
    throw CheckpointError("the dataset's storage does not fit its shape", where,
                          "use another checkpoint");
  }
  return out;
}

std::vector<std::string> Hdf5File::list(const std::string& group) const {
  struct Walk {
    std::string prefix;
    std::vector<std::string> paths;
    bool foreign_link = false;
  } walk{group == "/" ? "" : group, {}, false};
  const auto visit = [](hid_t at, const char* name, const H5L_info_t* link, void* out) -> herr_t {
    auto& w = *static_cast<Walk*>(out);
    if (link->type != H5L_TYPE_HARD) {
      w.foreign_link = true;
      return -1;
    }
    H5O_info_t info;
    if (H5Oget_info_by_name(at, name, &info, H5P_DEFAULT) < 0) return -1;
    if (info.type == H5O_TYPE_DATASET) w.paths.push_back(w.prefix + "/" + name);
    return 0;
  };
  const Handle base(H5Gopen2(id_, group.c_str(), H5P_DEFAULT), H5Gclose);
  check<hid_t>(base, "the group is missing", path_ + group);
  if (H5Lvisit(base, H5_INDEX_NAME, H5_ITER_INC, visit, &walk) < 0) {
    if (walk.foreign_link) {
      H5Eclear2(H5E_DEFAULT);
      throw CheckpointError("the file links to other places", path_ + group,
                            "use a checkpoint that elastron wrote");
    }
    fail("cannot list the group", path_ + group);
  }
  return walk.paths;
}

std::string Hdf5File::stored_text(std::string_view text) {
  return text.empty() ? std::string(1, '\0') : std::string(text);
}

void Hdf5File::write_text(const std::string& path, std::string_view text) {
  const std::string stored = stored_text(text);
  CpuDevice host;
  const Tensor bytes = Tensor::from(std::vector<uint8_t>(stored.begin(), stored.end()),
                                    {int64_t(stored.size())}, host);
  make_dataset({path, DType::u8, bytes.shape()});
  write(path, bytes, {0});
}

std::string Hdf5File::read_text(const std::string& path) const {
  constexpr int64_t kLongest = int64_t(64) << 20;
  const Hdf5Dataset d = describe(path);
  if (d.dtype != DType::u8 || d.shape.rank() != 1 || d.shape.numel() > kLongest) {
    throw CheckpointError("the dataset is not a text", path_ + path, "use another checkpoint");
  }
  CpuDevice host;
  Tensor bytes = Tensor::empty(d.shape, DType::u8, host);
  read(path, bytes, {0});
  const auto values = bytes.to_vector<uint8_t>();
  std::string text(values.begin(), values.end());
  return text == std::string(1, '\0') ? std::string() : text;
}

void Hdf5File::set_attribute(const std::string& name, int64_t value) {
  const std::string where = path_ + " " + name;
  if (H5Aexists(id_, name.c_str()) > 0)
    check(H5Adelete(id_, name.c_str()), "cannot replace", where);
  const Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle attribute(
      H5Acreate2(id_, name.c_str(), H5T_STD_I64LE, scalar, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  check<hid_t>(attribute, "cannot make the attribute", where);
  check(H5Awrite(attribute, H5T_NATIVE_INT64, &value), "cannot write the attribute", where);
}

void Hdf5File::set_attribute(const std::string& name, std::string_view value) {
  const std::string where = path_ + " " + name;
  if (H5Aexists(id_, name.c_str()) > 0)
    check(H5Adelete(id_, name.c_str()), "cannot replace", where);
  const Handle scalar(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  check(H5Tset_size(type, value.size() + 1), "cannot size the attribute", where);
  const Handle attribute(H5Acreate2(id_, name.c_str(), type, scalar, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose);
  check<hid_t>(attribute, "cannot make the attribute", where);
  const std::string terminated(value);
  check(H5Awrite(attribute, type, terminated.c_str()), "cannot write the attribute", where);
}

int64_t Hdf5File::integer_attribute(const std::string& name) const {
  const std::string where = path_ + " " + name;
  const Handle attribute(H5Aopen(id_, name.c_str(), H5P_DEFAULT), H5Aclose);
  check<hid_t>(attribute, "the attribute '" + name + "' is missing", where);
  const Handle type(H5Aget_type(attribute), H5Tclose);
  if (H5Tequal(type, H5T_STD_I64LE) <= 0) fail("the attribute is not an integer", where);
  int64_t value = 0;
  check(H5Aread(attribute, H5T_NATIVE_INT64, &value), "cannot read the attribute", where);
  return value;
}

std::string Hdf5File::text_attribute(const std::string& name) const {
  const std::string where = path_ + " " + name;
  const Handle attribute(H5Aopen(id_, name.c_str(), H5P_DEFAULT), H5Aclose);
  check<hid_t>(attribute, "the attribute '" + name + "' is missing", where);
  const Handle type(H5Aget_type(attribute), H5Tclose);
  constexpr size_t kLongest = 4096;
  const size_t size = H5Tget_size(type);
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || size > kLongest) {
    fail("the attribute is not a short text", where);
  }
  std::string value(size + 1, '\0');
  check(H5Aread(attribute, type, value.data()), "cannot read the attribute", where);
  value.resize(value.find('\0'));
  return value;
}

}  // namespace elastron
