// XXH3-128 checksums, as 32 hexadecimal digits.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

}  // namespace elastron
