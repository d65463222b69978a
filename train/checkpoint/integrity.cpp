#include "train/checkpoint/integrity.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <sstream>

#include "core/error.h"

namespace elastron::train {

namespace {

constexpr const char* kList = "/integrity/xxh3_128";
constexpr const char* kListChecksum = "integrity_checksum";
constexpr const char* kAttributes = "@attributes";  // no path: those start with '/'
constexpr size_t kChecksumDigits = 32;
const std::string kRemedy = "the file is damaged; use another checkpoint";

BlockDigest digest_of(const Hdf5File& file, const Hdf5Dataset& dataset, const RowBlocks& blocks,
                      int64_t block, Device& device, const OnSlice& on_slice) {
  Shape shape = dataset.shape;
  std::vector<int64_t> offset(size_t(shape.rank()), 0);
  if (shape.rank() > 0) {
    offset[0] = block * blocks.rows;
    shape.set(0, std::min(blocks.rows, shape[0] - offset[0]));
  }
  Tensor values = Tensor::empty(shape, dataset.dtype, device);
  file.read(dataset.path, values, offset, on_slice);
  return block_digest({static_cast<const std::byte*>(values.raw()), values.bytes()});
}

std::string text_checksum(const std::string& text) {
  const std::string stored = Hdf5File::stored_text(text);
  CpuDevice host;
  const Shape shape = {int64_t(stored.size())};
  const RowBlocks blocks = row_blocks(shape, DType::u8);
  std::vector<BlockDigest> digests;
  for (int64_t b = 0; b < blocks.count; ++b) {
    const auto piece =
        std::string_view(stored).substr(size_t(b * blocks.rows), size_t(blocks.rows));
    digests.push_back(block_digest(std::as_bytes(std::span(piece))));
  }
  return tensor_checksum(shape, DType::u8, digests);
}

std::string list_text(const Checksums& sums) {
  std::string text;
  for (const auto& [path, sum] : sums) text += sum + " " + path + "\n";
  return text;
}

}  // namespace

bool same_as_memory(const Hdf5File& file, const Hdf5Dataset& dataset, const Tensor& local,
                    const std::vector<int64_t>& offset, const OnSlice& on_slice) {
  if (local.numel() == 0) return true;
  Tensor stored = Tensor::empty(local.shape(), local.dtype(), local.device());
  file.read(dataset.path, stored, offset, on_slice);
  return std::memcmp(stored.raw(), local.raw(), local.bytes()) == 0;
}

std::string own_digests(const Hdf5File& file, const std::vector<Hdf5Dataset>& datasets, int rank,
                        int of, const OnSlice& on_slice) {
  int64_t total = 0;
  for (const Hdf5Dataset& d : datasets) total += row_blocks(d.shape, d.dtype).count;
  const int64_t begin = total * rank / of, end = total * (rank + 1) / of;
  CpuDevice device;
  std::string digests;
  int64_t first = 0;  // number of the dataset's first block
  for (const Hdf5Dataset& d : datasets) {
    const RowBlocks blocks = row_blocks(d.shape, d.dtype);
    for (int64_t b = std::max(begin, first); b < std::min(end, first + blocks.count); ++b) {
      const BlockDigest digest = digest_of(file, d, blocks, b - first, device, on_slice);
      digests.append(reinterpret_cast<const char*>(digest.data()), sizeof digest);
    }
    first += blocks.count;
  }
  return digests;
}

Checksums combine_digests(const std::vector<Hdf5Dataset>& datasets,
                          const std::vector<std::string>& parts) {
  std::string all;
  for (const std::string& part : parts) all += part;
  std::vector<BlockDigest> digests(all.size() / sizeof(BlockDigest));
  std::memcpy(digests.data(), all.data(), digests.size() * sizeof(BlockDigest));
  Checksums sums;
  size_t first = 0;
  for (const Hdf5Dataset& d : datasets) {
    const auto count = size_t(row_blocks(d.shape, d.dtype).count);
    ELASTRON_CHECK(first + count <= digests.size(), "digests are missing");
    sums[d.path] = tensor_checksum(d.shape, d.dtype, std::span(digests).subspan(first, count));
    first += count;
  }
  return sums;
}

void seal(Hdf5File& file, const CheckpointHeader& header, Checksums tensors) {
  Checksums sums = std::move(tensors);
  for (const auto& [path, text] : header_texts(header)) {
    file.write_text(path, text);
    sums[path] = text_checksum(text);
  }
  write_attributes(file, header);
  sums[kAttributes] = attributes_checksum(file);
  const std::string list = list_text(sums);
  file.write_text(kList, list);
  file.set_attribute(kListChecksum, checksum(list));
  file.set_attribute("complete", int64_t(1));
}

Checksums sealed_checksums(const Hdf5File& file) {
  if (file.integer_attribute("complete") != 1) {
    throw CheckpointError("the checkpoint is not complete", file.path(), "use another checkpoint");
  }
  const std::string list = file.read_text(kList);
  if (checksum(list) != file.text_attribute(kListChecksum)) {
    throw CheckpointError("checksum mismatch", file.path() + kList, kRemedy);
  }
  Checksums sums;
  std::istringstream lines(list);
  for (std::string line; std::getline(lines, line);) {
    if (line.size() < kChecksumDigits + 2) {
      throw CheckpointError("not a list of checksums", file.path() + kList, kRemedy);
    }
    sums[line.substr(kChecksumDigits + 1)] = line.substr(0, kChecksumDigits);
  }
  if (sums[kAttributes] != attributes_checksum(file)) {
    throw CheckpointError("checksum mismatch", file.path() + ", attributes", kRemedy);
  }
  sums.erase(kAttributes);
  return sums;
}

std::vector<Hdf5Dataset> sealed_datasets(const Hdf5File& file, const Checksums& sealed) {
  auto paths = file.list("/");
  std::erase(paths, std::string(kList));
  const std::set<std::string> present(paths.begin(), paths.end());
  for (const auto& [path, sum] : sealed) {
    if (!present.contains(path)) {
      throw CheckpointError("the dataset is missing", file.path() + path, kRemedy);
    }
  }
  std::vector<Hdf5Dataset> datasets;
  for (const std::string& path : present) {
    if (!sealed.contains(path)) {
      throw CheckpointError("dataset without a checksum", file.path() + path, kRemedy);
    }
    datasets.push_back(file.describe(path));
  }
  return datasets;
}

void compare_checksums(const Hdf5File& file, const Checksums& sealed, const Checksums& found) {
  for (const auto& [path, sum] : found) {
    if (sealed.at(path) != sum) {
      throw CheckpointError("checksum mismatch", file.path() + path, kRemedy);
    }
  }
}

}  // namespace elastron::train
