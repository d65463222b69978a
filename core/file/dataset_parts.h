// Several processes write parts of one HDF5 file's datasets at once: plain writes at the places
// that the library gave them. No call here waits for another process, so that a disk which fails
// one of them holds up nobody. (HDF5 1.10's own parallel driver can wait for ever in the flush of a
// file that failed on one rank.)
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/file/hdf5.h"

namespace elastron {

class DatasetParts {
 public:
  // A file that Hdf5File made, with its datasets, and closed. Throws CheckpointError.
  explicit DatasetParts(std::string path);
  DatasetParts(DatasetParts&& other) noexcept;
  DatasetParts& operator=(DatasetParts&&) = delete;
  ~DatasetParts();

  const std::string& path() const { return path_; }
  // A contiguous CPU tensor of the dataset's type; `offset`: where in it the tensor lies, per dim.
  void write(const std::string& dataset, const Tensor& values, const std::vector<int64_t>& offset);
  // To the disk. Errors show here at the latest.
  void close();

 private:
  struct Place {
    Hdf5Dataset dataset;
    uint64_t begin = 0;  // in the file
  };
  void write_at(const Place& place, const std::byte* from, const Tensor& values,
                const std::vector<int64_t>& offset, int dim, uint64_t element);
  [[noreturn]] void fail(const char* what, const std::string& dataset) const;

  std::string path_;
  std::map<std::string, Place> places_;
  int descriptor_ = -1;
};

}  // namespace elastron
