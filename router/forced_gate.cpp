#include "router/forced_gate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/philox.h"

namespace elastron::router {

StaticGates uniform_gates(int64_t layers, int64_t kv_heads, uint8_t gate) {
  return StaticGates(size_t(layers), std::vector<uint8_t>(size_t(kv_heads), gate));
}

StaticGates random_static_gates(int64_t layers, int64_t kv_heads, double msr, uint64_t seed) {
  StaticGates gates = uniform_gates(layers, kv_heads, 1);
  const int64_t total = layers * kv_heads;
  const auto sparse = int64_t(std::llround(msr * double(total)));
  ELASTRON_CHECK(sparse >= 0 && sparse <= total, "msr is a share");
  std::vector<int64_t> order(static_cast<size_t>(total));
  for (int64_t i = 0; i < total; ++i) order[size_t(i)] = i;
  RandomStream stream(seed, RandomPurpose::static_gate);
  for (int64_t i = 0; i < sparse; ++i) {
    const int64_t j = i + stream.next_below(uint32_t(total - i));
    std::swap(order[size_t(i)], order[size_t(j)]);
    gates[size_t(order[size_t(i)] / kv_heads)][size_t(order[size_t(i)] % kv_heads)] = 0;
  }
  return gates;
}

namespace {

// The number that is all of `text`, if it is one.
template <class T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

// An MSR.
std::optional<double> share(std::string_view text) {
  const auto value = whole_number<double>(text);
  return value && *value >= 0 && *value <= 1 ? value : std::nullopt;
}

StaticGates gates_of_file(const std::string& path, int64_t layers, int64_t kv_heads,
                          Granularity granularity) {
  StaticGates gates = gates_of_numbers(read_head_scores(path, layers, kv_heads), path);
  for (size_t layer = 0; granularity == Granularity::layer && layer < gates.size(); ++layer) {
    if (std::ranges::adjacent_find(gates[layer], std::ranges::not_equal_to()) ==
        gates[layer].end()) {
      continue;
    }
    throw InputError("heads of layer " + std::to_string(layer) +
                         " have different gates, and router.granularity is layer",
                     path,
                     "give all heads of a layer the same gate, or set router.granularity=head");
  }
  return gates;
}

// Whole layers are those of a model with one head each.
StaticGates random_gates_of(int64_t layers, int64_t kv_heads, double msr, uint64_t seed,
                            Granularity granularity) {
  if (granularity == Granularity::head) return random_static_gates(layers, kv_heads, msr, seed);
  StaticGates gates = random_static_gates(layers, 1, msr, seed);
  for (auto& layer : gates) layer.resize(size_t(kv_heads), layer.front());
  return gates;
}

}  // namespace

Force parse_force(const std::string& text, int64_t layers, int64_t kv_heads,
                  Granularity granularity) {
  if (text == "none") return {};
  if (text == "full") return {true, uniform_gates(layers, kv_heads, 1)};
  if (text == "sparse") return {true, uniform_gates(layers, kv_heads, 0)};
  if (text.starts_with("static:")) {
    return {true, gates_of_file(text.substr(7), layers, kv_heads, granularity)};
  }
  if (text.starts_with("scores:")) {
    if (granularity == Granularity::layer) {
      throw UsageError("scores order heads, and router.granularity is layer", "router.force",
                       "use static:FILE with a gate per layer, or set router.granularity=head");
    }
    const size_t colon = text.rfind(':');  // a path may have some
    const auto msr = share(std::string_view(text).substr(colon + 1));
    if (colon <= 7 || !msr) {
      throw UsageError("cannot read '" + text + "'", "router.force",
                       "write scores:FILE:MSR with MSR in [0, 1]");
    }
    const std::string path = text.substr(7, colon - 7);
    return {true, gates_of_scores(read_head_scores(path, layers, kv_heads), *msr)};
  }
  if (text.starts_with("random:")) {
    const std::string_view rest = std::string_view(text).substr(7);
    const size_t colon = rest.find(':');
    const auto msr = share(rest.substr(0, colon));
    const auto random_seed = colon == std::string_view::npos
                                 ? std::nullopt
                                 : whole_number<uint64_t>(rest.substr(colon + 1));
    if (!msr || !random_seed) {
      throw UsageError("cannot read '" + text + "'", "router.force",
                       "write random:MSR:SEED with MSR in [0, 1] and a whole number as SEED");
    }
    return {true, random_gates_of(layers, kv_heads, *msr, *random_seed, granularity)};
  }
  throw UsageError("unknown value '" + text + "'", "router.force",
                   "use full, sparse, static:FILE, scores:FILE:MSR, random:MSR:SEED or none");
}

uint8_t RandomGates::gate(uint32_t step, uint32_t sample_key, int64_t layer,
                          int64_t kv_head) const {
  const RandomStream document(seed, RandomPurpose::training_gate, step, sample_key, ~0u);
  if (!(double(document.uniform_at(0)) < sequence_share)) return 1;
  const RandomStream head(seed, RandomPurpose::training_gate, step, sample_key,
                          uint32_t(layer) << 16 | uint32_t(kv_head));
  return double(head.uniform_at(0)) < sparse_probability ? 0 : 1;
}

}  // namespace elastron::router
