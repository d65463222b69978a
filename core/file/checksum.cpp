#include "core/file/checksum.h"

#include <xxhash.h>

#include <fmt/format.h>

namespace elastron {

namespace {
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

}  // namespace elastron
