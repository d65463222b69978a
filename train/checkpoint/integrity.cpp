#include "train/checkpoint/integrity.h"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "core/file/checksum.h"

namespace elastron::train {

namespace {

constexpr const char* kIndex = "/integrity/xxh3_128";
constexpr const char* kIndexChecksum = "integrity_checksum";
const std::string kRemedy = "the file is damaged; use another checkpoint";

// Large tensors are hashed a slab of rows at a time.
constexpr int64_t kSlabBytes = 16 << 20;

std::string dataset_checksum(const Hdf5File& file, const std::string& path, Device& device) {
  const Hdf5Dataset d = file.describe(path);
  Checksum sum;
  sum.add(dtype_name(d.dtype));
  sum.add(d.shape.str());
  if (d.shape.numel() == 0) return sum.digest();
  const int64_t rows = d.shape.rank() > 0 ? d.shape[0] : 1;
  const int64_t row_bytes = d.shape.numel() / rows * int64_t(dtype_size(d.dtype));
  const int64_t slab = std::clamp<int64_t>(kSlabBytes / std::max<int64_t>(row_bytes, 1), 1, rows);
  for (int64_t row = 0; row < rows; row += slab) {
    Shape shape = d.shape;
    if (shape.rank() > 0) shape.set(0, std::min(slab, rows - row));
    Tensor values = Tensor::empty(shape, d.dtype, device);
    std::vector<int64_t> offset(size_t(shape.rank()), 0);
    if (!offset.empty()) offset[0] = row;
    file.read(path, values, offset);
    sum.add(std::span(static_cast<const std::byte*>(values.raw()), values.bytes()));
  }
  return sum.digest();
}

}  // namespace

void compare_with_memory(const Hdf5File& file, const std::string& where,
                         const Hdf5Dataset& dataset, const Tensor& local,
                         const std::vector<int64_t>& offset) {
  Tensor stored = Tensor::empty(local.shape(), local.dtype(), local.device());
  file.read(dataset.path, stored, offset);
  if (local.numel() > 0 && std::memcmp(stored.raw(), local.raw(), local.bytes()) != 0) {
    throw CheckpointError("what was written is not what is in memory", where + dataset.path,
                          "check the disk; the previous checkpoint is kept");
  }
}

std::map<std::string, std::string> own_checksums(const Hdf5File& file,
                                                 const std::vector<std::string>& paths, int rank,
                                                 int of) {
  CpuDevice device;
  std::map<std::string, std::string> sums;
  for (size_t i = size_t(rank); i < paths.size(); i += size_t(of)) {
    sums[paths[i]] = dataset_checksum(file, paths[i], device);
  }
  return sums;
}

std::map<std::string, std::string> gather_checksums(const std::map<std::string, std::string>& own,
                                                    parallel::Communicator& group) {
  std::string lines;
  for (const auto& [path, sum] : own) lines += sum + " " + path + "\n";
  std::map<std::string, std::string> all;
  for (const std::string& part : group.all_gather_host(lines)) {
    std::istringstream in(part);
    std::string sum, path;
    while (in >> sum >> path) all[path] = sum;
  }
  return all;
}

void seal(Hdf5File& file, std::map<std::string, std::string> sums) {
  CpuDevice device;
  std::string lines;
  for (const std::string& path : file.list("/")) {
    if (!sums.contains(path)) sums[path] = dataset_checksum(file, path, device);
  }
  for (const auto& [path, sum] : sums) lines += sum + " " + path + "\n";
  file.write_text(kIndex, lines);
  file.set_attribute(kIndexChecksum, checksum(std::string_view(lines)));
  file.set_attribute("complete", int64_t(1));
}

std::map<std::string, std::string> stored_checksums(const Hdf5File& file,
                                                    const std::string& where) {
  const std::string lines = file.read_text(kIndex);
  if (checksum(std::string_view(lines)) != file.text_attribute(kIndexChecksum)) {
    throw CheckpointError("checksum mismatch", where + kIndex, kRemedy);
  }
  std::map<std::string, std::string> sums;
  std::istringstream in(lines);
  std::string sum, path;
  while (in >> sum >> path) sums[path] = sum;
  return sums;
}

void verify_checksums(const Hdf5File& file, const std::string& where, int rank, int of) {
  const auto sums = stored_checksums(file, where);
  auto paths = file.list("/");
  std::erase(paths, std::string(kIndex));
  for (const std::string& p : paths) {
    if (!sums.contains(p)) throw CheckpointError("dataset without a checksum", where + p, kRemedy);
  }
  if (paths.size() != sums.size()) {
    for (const auto& [p, s] : sums) {
      if (std::ranges::find(paths, p) == paths.end()) {
        throw CheckpointError("the dataset is missing", where + p, kRemedy);
      }
    }
  }
  for (const auto& [p, s] : own_checksums(file, paths, rank, of)) {
    if (sums.at(p) != s) throw CheckpointError("checksum mismatch", where + p, kRemedy);
  }
}

}  // namespace elastron::train
