// Files with a number per (layer, kv head): gates, or scores that gates are made of.
//
// Taken as published: JSON, a list per layer of a number per kv head; a table of text, a line per
// layer and a number per kv head, split by tabs, commas or blanks (DuoAttention's
// full_attention_heads.tsv, PruLong's masks.tsv); and what elastron score-heads writes. In a table
// empty lines and those that begin with # do not count.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace elastron::router {

// A static gate per layer and global kv head: gates[layer][head], 1 = full attention.
using StaticGates = std::vector<std::vector<uint8_t>>;
// The higher, the sooner a head attends fully. Finite.
using HeadScores = std::vector<std::vector<double>>;

// Throws InputError for another number of layers or kv heads, and for what is no finite number.
HeadScores read_head_scores(const std::string& path, int64_t layers, int64_t kv_heads);

// Gates of 0 or 1; numbers between are full from 1/2 on, as in DuoAttention where no sparsity is
// asked for. Throws InputError, naming `path`, for others.
StaticGates gates_of_numbers(const HeadScores& numbers, const std::string& path);

struct HeadPlace {
  size_t layer, kv_head;
};
// From the lowest score to the highest; of equal ones those of lower layers and heads first.
std::vector<HeadPlace> heads_by_score(const HeadScores& scores);

// The round(msr * heads) lowest scores are sparse, in the order of heads_by_score. msr in [0, 1].
StaticGates gates_of_scores(const HeadScores& scores, double msr);

}  // namespace elastron::router
