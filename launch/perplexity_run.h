// `elastron benchmark perplexity`: a model's perplexity on the ends of long documents, and that of
// full attention beside it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "launch/opened_engine.h"

namespace elastron::launch {

struct PerplexityArguments {
  EngineArguments engine;
  std::string data, out;
  std::vector<int64_t> lengths;  // empty: 4096 and its doubles, as far as the model's positions go
  int64_t window = 1024;         // how many of the last tokens are scored
  std::string line;              // the whole command
};

// Collective. Leaves gates.jsonl, full.jsonl and results.json in `out`; the table goes to standard
// output.
ExitCode run_perplexity(const PerplexityArguments& arguments, parallel::World& world);

}  // namespace elastron::launch
