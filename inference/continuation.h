// Tokens behind those that a cache holds, which are read as they would be if they had been generated:
// several at a time, a row of a decoding batch each.
#pragma once
#include <cstdint>
#include <span>

#include "inference/engine.h"

namespace elastron::inference {

// Collective over the tensor and the context group. ids: one or more, from position `first` on, behind
// what `cache` holds; their keys and values are in it afterwards. -> hidden states after the last norm of
// the last of them [1, E], as Engine::decode() gives them for one token after the other.
Tensor read_behind(Engine& engine, const SequenceCache& cache, PagePool& pool,
                   std::span<const int32_t> ids, int64_t first);

}  // namespace elastron::inference
