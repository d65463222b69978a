// The largest counts that a configuration may ask for. Far beyond what is useful, and small enough
// that products of them stay within 64 bits and a mistyped zero ends with a message, not with all
// memory.
#pragma once
#include <cstdint>

namespace elastron {

inline constexpr int64_t kMostTokens = int64_t(1) << 24;        // of a document or a pack
inline constexpr int64_t kMostPacksPerStep = int64_t(1) << 20;  // or documents of an evaluation
inline constexpr int64_t kMostSteps = (int64_t(1) << 31) - 1;   // noise is keyed by 32 bits of it
inline constexpr int64_t kMostRanks = int64_t(1) << 20;

}  // namespace elastron
