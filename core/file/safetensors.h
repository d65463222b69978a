// The safetensors format, read strictly: files come from strangers.
//
//   8 bytes little-endian header length, JSON header, data. The header maps names to
//   {"dtype", "shape", "data_offsets": [begin, end]}; ranges tile the data without hole or overlap.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "core/file/input_file.h"
#include "core/file/safetensors_header.h"
#include "core/file/slices.h"
#include "core/parameter.h"
#include "core/tensor.h"
#include "core/weight_scale.h"

namespace elastron {

class SafetensorsFile {
 public:
  // Checks the whole header; reads no data. Throws InputError naming file and tensor.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::map<std::string, SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  // Bytes of a tensor's data from `offset` on, as they are stored.
  void read_raw(const SafetensorsEntry& entry, uint64_t offset, std::span<std::byte> out) const;

  // Reads the part of tensor `name` that `partition` names into `out` (local shape, contiguous, on
  // the CPU), converting between floating dtypes (to nearest even). The tensor must exist, have the
  // shape `logical`, and be floating if and only if `out` is; integers are never converted, and to e4m3 nothing is. The
  // kernel is told of the next slice before one is read, and nothing is read that the part does not
  // need, but for gaps of less than 64 KiB.
  // `scale`, of the whole tensor [out, in] and on the CPU: what is stored is multiplied by it, in
  // float32, and rounded once.
  void read(const std::string& name, const Shape& logical, const Partition& partition, Tensor& out,
            const OnSlice& on_slice = {}, const WeightScale& scale = {}) const;
  // Rows [r0, r1) and columns [c0, c1) of a matrix, likewise. `out` [r1 - r0, c1 - c0].
  struct Window {
    int64_t r0, r1, c0, c1;
  };
  void read_window(const std::string& name, const Shape& logical, const Window& window, Tensor& out,
                   const OnSlice& on_slice = {}, const WeightScale& scale = {}) const;
  // The whole tensor in its own dtype (float16 and 8-bit floats become float32). Throws InputError
  // when missing.
  Tensor read(const std::string& name, Device& device) const;

 private:
  // `outer` runs of `run` elements, the first at element `first` and the others `stride` apart.
  struct Runs {
    int64_t first, outer, run, stride;
  };
  void check_read(const std::string& name, const Shape& logical, const WeightScale& scale) const;
  void read_runs(const SafetensorsEntry& entry, const Runs& runs, Tensor& out,
                 const OnSlice& on_slice, const WeightScale& scale) const;

  InputFile file_;
  SafetensorsHeader header_;
};

// Writes contiguous CPU tensors, atomically. Order: by name. Data starts at a multiple of 8 bytes.
void write_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace elastron
