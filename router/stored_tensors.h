// Reads a router's tensors from files that name them in one way or another.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "router/exchange.h"

namespace elastron::router {

// How a kind of file names things: <prefix><layer><infix><leaf>.
struct RouterNaming {
  std::string prefix, infix;
  // Leaves: ours ("task.0.weight") and the file's. In ours also the options'
  // "task_embedding.weight" and "log_tau", and "log_alpha" of a static mask.
  std::vector<std::pair<std::string, std::string>> leaves;
  std::string lambda1, lambda2;
  bool others_allowed = false;  // other tensors in the same files
  // An embedding may lack the last task's row (zero then), log_tau may be a scalar.
  bool reference_shapes = false;

  std::string stored(int64_t layer, const std::string& leaf) const;  // of our leaf
  struct Place {
    int64_t layer;
    std::string leaf;  // the file's
  };
  std::optional<Place> place(const std::string& name) const;
  std::optional<std::string> ours(const std::string& leaf) const;
};

const RouterNaming& logical_naming();

// Whether any layer has this leaf (ours).
bool has_leaf(const TensorHomes& homes, const RouterNaming& naming, const std::string& leaf);

// Whether both are of the same network, as read_stored_tensors() infers it.
bool same_network(const RouterConfig& a, const RouterConfig& b);

// Fills `router.tensors`, and kind and widths of `router.config` from names and shapes; which
// options there are is for router.config to say. Throws InputError (exchange.h).
void read_stored_tensors(const TensorHomes& homes, const RouterNaming& naming, int64_t tasks,
                         const std::string& where, StoredRouter& router, Device& device);

}  // namespace elastron::router
