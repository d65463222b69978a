// Router training: the backbone is frozen, the routers learn when heads may be sparse.
#include "train/workload/registry.h"
#include "train/workload/text.h"

namespace elastron::train {

namespace {

class RouterObjective final : public TextObjective {
 public:
  bool trains_by_default(const Config&, Part part) const override { return may_train(part); }
  bool may_train(Part part) const override { return part == Part::router; }
};

}  // namespace

const Objective& router_objective() {
  static const RouterObjective objective;
  return objective;
}

}  // namespace elastron::train
