// HDF5 files of one process: a small part of the library behind types. The only place that includes
// hdf5.h. Errors carry HDF5's own text; nothing is printed by the library.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file/slices.h"
#include "core/tensor.h"

namespace elastron {

// Describes a dataset.
struct Hdf5Dataset {
  std::string path;  // "/params/model.norm.weight"
  DType dtype = DType::f32;
  Shape shape;
};

class Hdf5File {
 public:
  // The format of HDF5 1.8 (metadata checksums), contiguous storage with its place
  // taken at once, no times: the same content in datasets of the root gives the same bytes.
  static Hdf5File create(const std::string& path);
  // Refuses, before the library sees it, what is not a regular file with the
  // superblock of a file that create() made, closed, and of the size it says.
  static Hdf5File open(const std::string& path, bool writable);
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&&) = delete;
  ~Hdf5File();

  const std::string& path() const { return path_; }
  // Writes everything out; errors of a full disk show here at the latest.
  void close();

  // Makes the dataset and the groups above it. bfloat16 is stored as 16-bit unsigned with the
  // attribute dtype = "bfloat16".
  void make_dataset(const Hdf5Dataset& dataset);
  // Contiguous CPU tensors. `offset`: where in the dataset the tensor lies, per dim.
  void write(const std::string& path, const Tensor& values, const std::vector<int64_t>& offset);
  // Reads slices of whole rows of dim 0.
  void read(const std::string& path, Tensor& values, const std::vector<int64_t>& offset,
            const OnSlice& on_slice = {}) const;
  // Throws unless the dataset is there, contiguous, unfiltered, of a known type and its storage
  // lies in the file.
  Hdf5Dataset describe(const std::string& path) const;
  // Where its elements begin in the file. It must be as describe() asks.
  uint64_t place(const std::string& path) const;
  // All datasets below `group`, by path. Links out of the file are refused.
  std::vector<std::string> list(const std::string& group) const;

  void write_text(const std::string& path, std::string_view text);  // dataset of bytes
  std::string read_text(const std::string& path) const;
  // The bytes that stand for a text: an empty one is one zero byte, because HDF5 stores no empty
  // contiguous dataset.
  static std::string stored_text(std::string_view text);

  void set_attribute(const std::string& name, int64_t value);
  void set_attribute(const std::string& name, std::string_view value);
  int64_t integer_attribute(const std::string& name) const;
  std::string text_attribute(const std::string& name) const;

 private:
  Hdf5File(std::string path, int64_t id) : path_(std::move(path)), id_(id) {}
  std::string path_;
  int64_t id_ = -1;
};

}  // namespace elastron
