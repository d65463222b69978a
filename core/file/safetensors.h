// The safetensors format, read strictly: files come from strangers.
//
//   8 bytes little-endian header length, JSON header, data. The header maps names to
//   {"dtype", "shape", "data_offsets": [begin, end]}; ranges tile the data without hole or overlap.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/file/mapped_file.h"
#include "core/parameter.h"
#include "core/tensor.h"

namespace elastron {

class SafetensorsFile {
 public:
  // What a stored tensor is. float16 is read (converted), never held.
  enum class Storage : uint8_t { f64, f32, f16, bf16, i64, i32, u8 };
  struct Entry {
    Storage storage;
    Shape shape;
    size_t begin = 0, end = 0;  // bytes in the data section
  };

  // Maps the file and checks the whole header. Throws InputError naming file and tensor.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  std::span<const std::byte> bytes(const Entry& entry) const;

  // Reads the part of tensor `name` that `partition` names into `out` (local shape, contiguous, on
  // the CPU), converting floating dtypes. The tensor must exist; its shape is `logical`.
  void read(const std::string& name, const Shape& logical, const Partition& partition,
            Tensor& out) const;
  // The whole tensor in its own dtype (float16 becomes float32).
  Tensor read(const std::string& name, Device& device) const;

 private:
  MappedFile file_;
  size_t data_begin_ = 0;
  std::map<std::string, Entry> entries_;
};

// Writes contiguous CPU tensors, atomically. Order: by name.
void write_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace elastron
