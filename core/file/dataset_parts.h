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
  // What was written a slice ago is on its way to the disk when a slice ends, so that close() has
  // little left to do.
  void write(const std::string& dataset, const Tensor& values, const std::vector<int64_t>& offset,
             const OnSlice& on_slice = {});
  // To the disk. Errors show here at the latest.
  void close();

 private:
  struct Place {
    Hdf5Dataset dataset;
    uint64_t begin = 0;  // in the file
  };
  // Bytes of the file.
  struct Range {
    uint64_t begin = 0, end = 0;
    bool empty() const { return begin == end; }
  };
  void write_at(const Place& place, const std::byte* from, const Tensor& values,
                const std::vector<int64_t>& offset, const OnSlice& on_slice, int dim,
                uint64_t element);
  void note_written(Range range, const OnSlice& on_slice);
  void send_to_disk(Range range, unsigned how) const;
  [[noreturn]] void fail(const char* what, const std::string& dataset) const;

  std::string path_;
  std::map<std::string, Place> places_;
  int descriptor_ = -1;
  // Of the slice that is being written, and of the one before.
  Range slice_, before_;
  uint64_t slice_bytes_ = 0;
};

}  // namespace elastron
