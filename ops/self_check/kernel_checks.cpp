#include "ops/self_check/kernel_checks.h"

#include "ops/attention_means.h"
#include "ops/cuda/attention/kernel_choice.h"
#include "ops/self_check/attention_checks.h"
#include "ops/self_check/dense_checks.h"

namespace elastron::ops {

namespace {

using self_check::AttentionBy;
using self_check::Pass;

class Checks {
 public:
  Checks(const KernelUse& use, Device& gpu) : use_(use), gpu_(gpu), dtype_(dtype_name(use.dtype)) {}

  std::vector<KernelCheck> all() {
    dense();
    attention();
    return std::move(checks_);
  }

 private:
  void add(std::string name, std::optional<KernelFamily> family,
           std::function<std::string(Device&)> run) {
    checks_.push_back({std::move(name), family, std::move(run)});
  }

  void products(DType t) {
    const std::string type(dtype_name(t));
    add("plain products, " + type, {},
        [t](Device& gpu) { return self_check::check_plain_products(t, gpu); });
    add("products by cuBLASLt, " + type, KernelFamily::library_products,
        [t](Device& gpu) { return self_check::check_library_products(t, false, gpu); });
    if (t != DType::bf16) return;  // no others are timed
    add("products by cuBLASLt's fastest algorithms, " + type, KernelFamily::tuned_products,
        [t](Device& gpu) { return self_check::check_library_products(t, true, gpu); });
  }

  void dense() {
    const DType t = use_.dtype;
    add("plain kernels, " + dtype_, {},
        [t](Device& gpu) { return self_check::check_dense_ops(t, gpu); });
    add("gates and pooling, " + dtype_, {},
        [t](Device& gpu) { return self_check::check_gates(t, gpu); });
    if (use_.trains) {
      add("optimiser, " + dtype_, {},
          [t](Device& gpu) { return self_check::check_optimizer(t, gpu); });
    }
    if (use_.experts) {
      add("experts, plain kernels, " + dtype_, {},
          [t](Device& gpu) { return self_check::check_experts(t, false, gpu); });
    }
    if (use_.experts && t == DType::bf16) {
      add("experts, tensor cores (mma), " + dtype_, KernelFamily::mma_groups,
          [t](Device& gpu) { return self_check::check_experts(t, true, gpu); });
    }
    products(t);
    // Routers and heads are in float32.
    if (t != DType::f32) products(DType::f32);
  }

  void attention_by(const std::string& who, std::optional<KernelFamily> family, AttentionBy by,
                    Pass pass) {
    add("attention, " + std::string(pass == Pass::forward ? "forward" : "backward") + ", " + who +
            shape(),
        family, [use = use_, by, pass](Device& gpu) {
          return self_check::check_attention(use, by, pass, gpu);
        });
  }

  void attention() {
    const std::string library = library_name();
    if (use_.pattern.chooser() != nullptr) {
      add("choice of blocks, plain kernels" + shape(), {},
          [use = use_](Device& gpu) { return self_check::check_block_choice(use, false, gpu); });
      if (self_check::has_mma_scores(use_)) {
        add("choice of blocks, scores on tensor cores" + shape(), KernelFamily::mma_scores,
            [use = use_](Device& gpu) { return self_check::check_block_choice(use, true, gpu); });
      }
    }
    for (const Pass pass : {Pass::forward, Pass::gradients}) {
      const bool forward = pass == Pass::forward;
      if (!forward && !use_.trains) continue;
      attention_by("plain kernels", {}, {}, pass);
      const AttentionKernels fastest = self_check::fastest_attention(use_, pass, gpu_);
      // Hopper's kernels are for what mma takes.
      if (fastest >= AttentionKernels::mma) {
        attention_by("tensor cores (mma)",
                     forward ? KernelFamily::mma_forward : KernelFamily::mma_gradients,
                     {.kernels = AttentionKernels::mma}, pass);
      }
      if (fastest >= AttentionKernels::hopper) {
        attention_by("sm_90a kernels",
                     forward ? KernelFamily::hopper_forward : KernelFamily::hopper_gradients,
                     {.kernels = AttentionKernels::hopper}, pass);
      }
      if (!library.empty()) {
        attention_by(library,
                     forward ? KernelFamily::library_forward : KernelFamily::library_gradients,
                     {.library = true}, pass);
      }
    }
    if (!use_.trains) {
      add("decoding" + shape(), {}, [use = use_](Device& gpu) {
        return self_check::check_decoding(use.dtype, use.head_dim, use.group, gpu);
      });
    }
  }

  // The library that computes full attention where sequences are long enough; else nothing.
  std::string library_name() const {
    std::string why;
    const bool wanted = cuda::library_wanted({.full_by = use_.full_by,
                                              .dtype = use_.dtype,
                                              .shape = {use_.group, 1, use_.head_dim},
                                              .sets = use_.pattern.kinds(),
                                              .longest = cuda::kLeastForLibrary});
    return wanted ? full_attention_library(gpu_, why) : "";
  }

  // What the kernels of attention are compiled or chosen for.
  std::string shape() const {
    std::string text = ", " + dtype_ + ", head_dim " + std::to_string(use_.head_dim) + ", " +
                       std::to_string(use_.group) + " query heads per kv head";
    if (const BlockChooser* chooser = use_.pattern.chooser(); chooser != nullptr) {
      const auto* xa = std::get_if<XAttentionRule>(chooser);
      text +=
          ", blocks of " + std::to_string(block_of(*chooser)) +
          (xa != nullptr ? " by XAttention, stride " + std::to_string(xa->stride) : " by top k");
    }
    return text + (use_.pattern.nested() ? "" : ", two passes");
  }

  const KernelUse& use_;
  Device& gpu_;
  std::string dtype_;
  std::vector<KernelCheck> checks_;
};

}  // namespace

std::vector<KernelCheck> kernel_checks(const KernelUse& use, Device& gpu) {
  if (gpu.kind() != DeviceKind::cuda) return {};
  return Checks(use, gpu).all();
}

}  // namespace elastron::ops
