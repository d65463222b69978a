// An inference engine as the command line describes it: what `logits`, `generate` and generative
// judges run on.
#pragma once
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inference/engine.h"
#include "inference/scheduler.h"
#include "launch/runtime.h"

namespace elastron::launch {

namespace cli {
class App;
}

struct EngineArguments {
  std::string model;           // Hugging Face model folder
  std::string router;          // a trained router; empty: none
  std::string force = "none";  // router.force; without a router "none" is full attention
  std::string dtype = "auto";  // auto: the folder's
  int tensor = 0;              // ranks that split the weights; 0: as many as can
  int context = 1;             // ranks that split the rows of a sequence
  // router.*, device.*, model.storage, model.beyond_positions, model.rope_scaling; without the last
  // a router has the positions that it was trained with.
  std::vector<std::string> overrides;
  // Says what the user can do where sequences reach beyond the model's positions.
  std::string shorter = "give shorter sequences";

  // That such a command needs: more share its rows.
  int fewest_ranks() const { return std::max(tensor, 1) * context; }

  // `needed`: the command does nothing without a model.
  void add_to(cli::App& command, bool needed = true);
};

// GB as an option gives them; 0 is no limit, and nothing else is.
int64_t cache_bytes(double gb);
// Throws UsageError where a text of so many tokens, called `what`, could never be let in.
void check_cache(const inference::Engine& engine, const inference::SchedulerOptions& options,
                 int64_t tokens, const std::string& what, const std::string& option);

class OpenedEngine {
 public:
  // Collective. `max_position`: tokens of the longest sequence.
  OpenedEngine(parallel::World& world, const EngineArguments& arguments, int64_t max_position);

  inference::Engine& engine() { return *engine_; }
  // Another one of the same model, gates and dtype whose weights are kept in `storage`.
  std::unique_ptr<inference::Engine> engine_that_keeps(std::optional<DType> storage);
  // From now on the engine's gates are these, as --force has them. Collective. Throws UsageError for
  // another form.
  void force(const std::string& gates);
  // Throws what force() would. Collective.
  void check_force(const std::string& gates) const;
  Runtime& runtime() { return *runtime_; }

 private:
  router::StaticGates forced(const std::string& gates) const;

  EngineArguments arguments_;
  int64_t max_position_;
  train::Config config_;
  std::unique_ptr<Runtime> runtime_;
  std::optional<router::StoredRouter> stored_;  // where there is a router
  std::unique_ptr<inference::Engine> engine_;
};

}  // namespace elastron::launch
