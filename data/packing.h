// Which documents share a pack (docs/method.md, Packing).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace elastron::data {

enum class Packing : uint8_t {
  sorted,     // the paper: ascending by length, greedy, flush when the next would not fit
  first_fit,  // in order, each into the first pack with room
  none,       // one document per pack
};

// A packed file holds no more than this in one pack (data/packed_file.h).
inline constexpr int64_t kMostDocumentsPerPack = 65536;

// Indices of documents per pack. n log n in the number of documents. Every length must be at most
// max_tokens. Deterministic: ties keep the order of the documents.
std::vector<std::vector<int64_t>> pack_documents(std::span<const int64_t> lengths,
                                                 int64_t max_tokens, Packing packing);

}  // namespace elastron::data
