// XXH3-128 checksums, as 32 hexadecimal digits. They find damage; they are no defence against
// somebody who wants to forge a file.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace elastron {

std::string checksum(std::span<const std::byte> bytes);
std::string checksum(std::string_view text);

// Incremental, for hashing what does not lie together.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text);  // length-prefixed, so that neighbours cannot run together
  void add(int64_t value);
  std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A tensor's checksum is taken over blocks of rows of the *unsharded* tensor, so that ranks can
// share the work and the result depends neither on the layout nor on who did which block:
//   block  = XXH3-128(bytes of its rows)
//   tensor = XXH3-128(dtype, shape, blocks in order)
struct RowBlocks {
  int64_t rows = 1;   // of dim 0 in a block; the last block may have fewer
  int64_t count = 0;  // 0 for a tensor without elements
};
// About 4 MiB a block, at least one row. A scalar is one row.
RowBlocks row_blocks(const Shape& shape, DType dtype);

using BlockDigest = std::array<uint64_t, 2>;
BlockDigest block_digest(std::span<const std::byte> bytes);
std::string tensor_checksum(const Shape& shape, DType dtype, std::span<const BlockDigest> blocks);

}  // namespace elastron
