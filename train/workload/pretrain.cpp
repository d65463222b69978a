// Pretraining: a backbone is made, with random gates for a share of its documents, so that its
// heads learn to be sparse.
#include <map>

#include "core/log.h"
#include "model/weights/model_folder.h"
#include "parallel/agree.h"
#include "train/workload/registry.h"
#include "train/workload/text.h"

namespace elastron::train {

namespace {

class PretrainWorkload final : public TextWorkload {
 public:
  using TextWorkload::TextWorkload;

  // The trained backbone as a Hugging Face folder.
  void finish() override {
    std::map<std::string, Tensor> whole;
    for (Parameter* p : session_.decoder().parameters()) whole[p->name] = logical(*p);
    const std::string folder = objective_of(config_).result_folder(config_);
    parallel::on_all_ranks(mesh_.world(), [&] {
      if (mesh_.world().rank() == 0) {
        model::write_model_folder(folder, config_.model.path, whole, config_.model.rope_scaling);
      }
    });
    log_info("the backbone is in {}", folder);
  }

 private:
  // Collective: the whole tensor from the shards of the tensor group.
  Tensor logical(const Parameter& p) {
    Tensor all = Tensor::zeros(p.logical_shape, p.value.dtype(), device_);
    if (p.partition.replicated()) {
      if (mesh_.tensor().rank() == 0) all.copy_from(p.value);
    } else {
      const int64_t begin = p.partition.offset;
      all.slice(p.partition.dim, begin, begin + p.partition.size).copy_from(p.value);
    }
    mesh_.tensor().all_reduce(all, parallel::ReduceOp::sum).wait();
    return all;
  }
};

class PretrainObjective final : public TextObjective {
 public:
  bool trains_by_default(const Config&, Part part) const override { return may_train(part); }
  bool may_train(Part part) const override { return part == Part::backbone; }
  bool makes_backbone() const override { return true; }
  std::string result_folder(const Config& config) const override {
    return config.output.dir + "/model";
  }
  double expected_sparsity(const Config& config) const override {
    const RandomGateSection& random = config.train.random_gates;
    return random.robust_only ? 0 : random.share * random.sparse;  // or a little more
  }
  std::vector<router::RoutedLayer> training_gates(TrainedModel& model) const override {
    return model.routed_at_random();
  }
  std::unique_ptr<Workload> open(const Config& config, parallel::Mesh& mesh, Device& device,
                                 Session& session) const override {
    return std::make_unique<PretrainWorkload>(config, mesh, device, session);
  }
};

}  // namespace

const Objective& pretrain_objective() {
  static const PretrainObjective objective;
  return objective;
}

}  // namespace elastron::train
