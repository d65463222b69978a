#include "core/file/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

namespace elastron {

namespace {

constexpr int64_t kBlockBytes = int64_t(4) << 20;

std::string hex(const XXH128_hash_t& hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

std::string checksum(std::span<const std::byte> bytes) {
  return hex(XXH3_128bits(bytes.data(), bytes.size()));
}
std::string checksum(std::string_view text) { return checksum(std::as_bytes(std::span(text))); }

struct Checksum::State {
  XXH3_state_t* hash = XXH3_createState();
  ~State() { XXH3_freeState(hash); }
};

Checksum::Checksum() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->hash); }
Checksum::~Checksum() = default;
void Checksum::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->hash, bytes.data(), bytes.size());
}
void Checksum::add(std::string_view text) {
  add(int64_t(text.size()));
  add(std::as_bytes(std::span(text)));
}
void Checksum::add(int64_t value) { add(std::as_bytes(std::span(&value, 1))); }
std::string Checksum::digest() const { return hex(XXH3_128bits_digest(state_->hash)); }

RowBlocks row_blocks(const Shape& shape, DType dtype) {
  if (shape.numel() == 0) return {};
  const int64_t rows = shape.rank() > 0 ? shape[0] : 1;
  const int64_t row_bytes = shape.numel() / rows * int64_t(dtype_size(dtype));
  RowBlocks blocks;
  blocks.rows = std::clamp<int64_t>(kBlockBytes / row_bytes, 1, rows);
  blocks.count = (rows + blocks.rows - 1) / blocks.rows;
  return blocks;
}

BlockDigest block_digest(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

std::string tensor_checksum(const Shape& shape, DType dtype, std::span<const BlockDigest> blocks) {
  Checksum sum;
  sum.add(dtype_name(dtype));
  sum.add(int64_t(shape.rank()));
  for (const int64_t extent : shape.extents()) sum.add(extent);
  sum.add(std::as_bytes(blocks));
  return sum.digest();
}

}  // namespace elastron
