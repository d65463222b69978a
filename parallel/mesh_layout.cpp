#include "parallel/mesh_layout.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "core/plural.h"

namespace elastron::parallel {

MeshCoordinates MeshLayout::coordinates(int rank) const {
  ELASTRON_CHECK(rank >= 0 && rank < ranks(), "rank outside the mesh");
  return {.data = rank / (context * tensor),
          .context = rank / tensor % context,
          .tensor = rank % tensor};
}

int MeshLayout::rank(const MeshCoordinates& c) const {
  ELASTRON_CHECK(c.data >= 0 && c.data < data && c.context >= 0 && c.context < context &&
                     c.tensor >= 0 && c.tensor < tensor,
                 "coordinates outside the mesh");
  return (c.data * context + c.context) * tensor + c.tensor;
}

namespace {

// "1, 2, 3 or 6"
std::string divisors(int n) {
  std::vector<int> found;
  for (int d = 1; d <= n; ++d) {
    if (n % d == 0) found.push_back(d);
  }
  std::string text;
  for (size_t i = 0; i < found.size(); ++i) {
    if (i > 0) text += i + 1 == found.size() ? " or " : ", ";
    text += std::to_string(found[i]);
  }
  return text;
}

std::string ranks_text(int64_t n) { return fmt::format("{} rank{}", n, n == 1 ? "" : "s"); }

}  // namespace

MeshLayout MeshLayout::resolve(int world_size, int data, int context, int tensor) {
  ELASTRON_CHECK(world_size >= 1, "a job has at least one rank");
  static constexpr int kMost = 1 << 20;  // products of three fit 64 bits
  const auto require_size = [](int value, const char* key) {
    if (value >= 1 && value <= kMost) return;
    throw UsageError(fmt::format("{} is {}", key, value), key,
                     fmt::format("give a size between 1 and {}", kMost));
  };
  require_size(tensor, "parallel.tensor");
  require_size(context, "parallel.context");
  if (data > 0) require_size(data, "parallel.data");

  const int64_t inner = int64_t(context) * tensor;
  if (data <= 0) {
    if (inner > world_size || world_size % inner != 0) {
      std::string remedy;
      if (context <= world_size && world_size % context == 0) {
        remedy = fmt::format("with parallel.context={}, parallel.tensor can be {}", context,
                             divisors(world_size / context));
      } else {
        remedy = fmt::format("their product can be {}", divisors(world_size));
      }
      throw UsageError(fmt::format("{} cannot be divided into groups of parallel.context={} x "
                                   "parallel.tensor={}",
                                   ranks_text(world_size), context, tensor),
                       "parallel.tensor, parallel.context",
                       fmt::format("{}, or start a multiple of {}", remedy, ranks_text(inner)));
    }
    return {.data = int(world_size / inner), .context = context, .tensor = tensor};
  }
  if (inner * data != world_size) {
    std::string remedy = "start " + plural(inner * data, "rank");
    if (inner <= world_size && world_size % inner == 0) {
      remedy += fmt::format(", or set parallel.data={} or auto", world_size / inner);
    } else {
      remedy += fmt::format(", or choose sizes whose product is {}", world_size);
    }
    throw UsageError(fmt::format("parallel.data={} x parallel.context={} x parallel.tensor={} "
                                 "needs {}, but {} started",
                                 data, context, tensor, plural(inner * data, "rank"),
                                 world_size == 1 ? "1 was" : fmt::format("{} were", world_size)),
                     "parallel.data, parallel.context, parallel.tensor", remedy);
  }
  return {.data = data, .context = context, .tensor = tensor};
}

}  // namespace elastron::parallel
