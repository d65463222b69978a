// A configuration with every kind of value, for the tests.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config/schema.h"

namespace elastron::example {

enum class Mode : uint8_t { fa_ssa, fa_xa };

struct SparseConfig {
  int64_t sink = 128;
  int64_t local = 2048;
  int64_t block = 64;
};

struct RouterConfig {
  SparseConfig ssa;
  Mode mode = Mode::fa_ssa;
  std::optional<double> clamp;
  std::map<std::string, double> target{{"qa", 0.7}};
};

struct TrainConfig {
  int64_t steps = 300;
  int32_t micro_batch = 1;
  double lr = 5e-4;
  bool deterministic = true;
  std::vector<std::string> trainable;
  std::vector<int64_t> lengths{256, 512};
  std::vector<double> betas{0.9, 0.95};
};

struct ExampleConfig {
  RouterConfig router;
  TrainConfig train;
  config::Auto<int64_t> data_ranks;
  std::string dir = "runs/default";
  std::string recompute = "none";
  std::optional<std::string> note;
};

// A section that a plain value may stand for.
struct PlaceConfig {
  std::string kind = "land";
  int64_t depth = 0;
};
struct ShortConfig {
  PlaceConfig place;
};

}  // namespace elastron::example

namespace elastron::config {

template <>
struct EnumNames<example::Mode> {
  static constexpr NameOf<example::Mode> names[] = {{example::Mode::fa_ssa, "fa-ssa"},
                                                    {example::Mode::fa_xa, "fa-xa"}};
};

template <>
struct Schema<example::SparseConfig> {
  using C = example::SparseConfig;
  static constexpr auto fields =
      std::tuple{field("sink", &C::sink, at_least(0), "tokens at the start that all heads see"),
                 field("local", &C::local, at_least(1), "most recent tokens that all heads see"),
                 field("block", &C::block, at_least(1), "tokens per block")};
  static void check(const C& c, Problems& problems) {
    if (c.local % c.block != 0) {
      problems.add("local", "the local window " + std::to_string(c.local) + " is not whole blocks",
                   "use a multiple of " + std::to_string(c.block));
    }
  }
};

template <>
struct Schema<example::RouterConfig> {
  using C = example::RouterConfig;
  static constexpr auto fields =
      std::tuple{section("ssa", &C::ssa, "streaming sparse attention"),
                 field("mode", &C::mode, "the two modes a head chooses from"),
                 field("clamp", &C::clamp, greater_than(0), "bound of the multipliers"),
                 field("target", &C::target, between(0, 1), "target sparsity per task")};
};

template <>
struct Schema<example::TrainConfig> {
  using C = example::TrainConfig;
  static constexpr auto fields =
      std::tuple{field("steps", &C::steps, at_least(1), "optimiser updates"),
                 field("micro_batch", &C::micro_batch, at_least(1), "packs per forward pass"),
                 field("lr", &C::lr, greater_than(0) && less_than(1), "peak learning rate"),
                 field("deterministic", &C::deterministic, "same bits every time"),
                 field("trainable", &C::trainable, not_empty(), "names of what is trained"),
                 field("lengths", &C::lengths, at_least(1), "lengths in tokens"),
                 field("betas", &C::betas, at_least(0) && less_than(1), "decay of the moments")};
};

template <>
struct Schema<example::ExampleConfig> {
  using C = example::ExampleConfig;
  static constexpr auto fields =
      std::tuple{section("router", &C::router, "the Attention Router"),
                 section("train", &C::train, "the training loop"),
                 field("data_ranks", &C::data_ranks, at_least(1), "data-parallel ranks"),
                 field("dir", &C::dir, not_empty(), "output folder"),
                 field("recompute", &C::recompute, choice("none", "selective", "layer"),
                       "what the backward pass computes again"),
                 field("note", &C::note, "free text")};
  static void check(const C& c, Problems& problems) {
    if (c.train.steps < c.train.micro_batch) {
      problems.add("train.steps", "fewer steps than packs", "raise train.steps");
    }
  }
};

template <>
struct Schema<example::PlaceConfig> {
  using C = example::PlaceConfig;
  static constexpr auto fields =
      std::tuple{field("kind", &C::kind, choice("land", "sea", "sky"), "where"),
                 field("depth", &C::depth, at_least(0), "below the surface")};
};
template <>
struct Schema<example::ShortConfig> {
  using C = example::ShortConfig;
  static constexpr auto fields =
      std::tuple{section("place", &C::place, "a place; a plain value is its kind", "kind")};
};

}  // namespace elastron::config
