// Pairs of traces as lines of a preference file, in either form that reward/rows.h reads.
#pragma once
#include <cstdint>
#include <string>

#include "reward/traces.h"

namespace elastron::reward {

enum class PairForm : uint8_t {
  preference,  // prompt, chosen, rejected, kind
  benchmark,   // MemoryRewardBench's standard form (docs/method.md, Benchmark rows), a setting's
               // name as task: S-Noise, P-Drop, ...; ctx_length by words instead of tokens
};

// The benchmark's class of so many tokens in all: its edges are 8000, 16000, ...; the longest class
// has no end (docs/method.md, Benchmark rows).
std::string length_class(int64_t tokens);

std::string trace_setting(int kind);  // S- for sequential, P- for mixed, then the fault

// One line, with the newline.
std::string trace_row(const TracePair& pair, int kind, PairForm form);

}  // namespace elastron::reward
