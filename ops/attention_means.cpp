#include "ops/attention_means.h"

#include <array>
#include <span>

#include "ops/backend.h"
#include "ops/cuda/attention/full_attention.h"
#include "ops/cuda/attention/kernel_choice.h"
#include "ops/cuda/attention/library_batch.h"
#include "ops/cuda/attention/library_memory.h"
#include "ops/cuda/attention/routed_attention.h"
#include "ops/kernel_families.h"

namespace elastron::ops {

std::string full_attention_library(Device& device, std::string& why) {
  std::string name;
  run_on(
      device, [&] { why = "the CPU has its own"; },
      [&](auto) { name = cuda::full_attention_library(device, why); },
      [&](MetaDevice& meta) {
        const AttentionMeans& means = meta.attached<AttentionExpectations>().means;
        if (means.library_forward || means.library_backward) {
          name = "a library";
        } else {
          why = "the GPU that is planned for has none";
        }
      });
  return name;
}

bool has_full_attention_library(Device& device) {
  std::string why;
  return !full_attention_library(device, why).empty();
}

bool may_have_library(Device& device, bool gradients) {
  bool may = false;
  run_on(
      device, [] {}, [&](auto) { may = has_full_attention_library(device); },
      [&](MetaDevice& meta) {
        const AttentionMeans& means = meta.attached<AttentionExpectations>().means;
        may = gradients ? means.library_backward : means.library_forward;
      });
  return may;
}

namespace {

cuda::LibraryQuestion library_question(const FullAttentionQuestion& q) {
  return {.full_by = q.by,
          .dtype = q.dtype,
          .shape = {q.q_heads, q.kv_heads, q.head_dim},
          .sets = q.sets,
          .longest = q.longest};
}

// Whether the library has kernels for one pass of these calls; if not, `why`.
bool has_library_pass(Device& device, const FullAttentionQuestion& q, bool gradients,
                      std::string& why) {
  bool has = false;
  run_on(
      device, [] {},
      [&](auto) {
        const std::array<int32_t, 2> bounds = {0, int32_t(q.longest)};
        const auto batch = cuda::library_batch(
            {.cu_seqlens = bounds, .cu_keys = q.own_keys ? bounds : std::span<const int32_t>()});
        const int64_t queries = q.q_heads * q.head_dim, keys = q.kv_heads * q.head_dim;
        AttentionBackwardArgs args;
        args.q = args.d_out = {nullptr, queries};
        args.k = args.v = {nullptr, keys};
        args.shape = {q.q_heads, q.kv_heads, q.head_dim};
        args.scale = 1;
        has =
            cuda::full_attention_supported(device,
                                           gradients ? cuda::library_gradient_shape(args, batch)
                                                     : cuda::library_shape(args, batch, q.kv_heads),
                                           why);
      },
      [&](MetaDevice& meta) {
        const AttentionMeans& means = meta.attached<AttentionExpectations>().means;
        has = gradients ? means.library_backward : means.library_forward;
        if (!has) why = "the library that is planned for has no such pass";
      });
  return has;
}

}  // namespace

FullAttentionWay full_attention_way(Device& device, const FullAttentionQuestion& q) {
  FullAttentionWay way;
  if (full_attention_library(device, way.why).empty()) return way;
  if (q.sets.retrieval != KeySetKind::full) {
    way.why = "no branch is full attention";
  } else if (!cuda::library_wanted(library_question(q))) {
    way.why = "heads are too wide or sequences too short for it";
  }
  if (!way.why.empty()) return way;
  way.from = q.by == FullAttentionBy::automatic ? cuda::kLeastForLibrary : 1;
  const KernelFamilies forbidden = device.attached<ForbiddenKernels>().families;
  const auto does = [&](bool gradients, KernelFamily family) {
    std::string why = "what it computes is wrong here";  // by the self-check
    if (!forbidden.contains(family) && has_library_pass(device, q, gradients, why)) return true;
    if (way.why.empty()) way.why = why;
    return false;
  };
  way.forward = does(false, KernelFamily::library_forward);
  way.backward = does(true, KernelFamily::library_gradients);
  return way;
}

AttentionMeans attention_means(Device& device, const FullAttentionQuestion& question) {
  AttentionMeans means;
  run_on(
      device, [] {},
      [&](auto) {
        means.kernels = cuda::hopper_runs_on(cuda::attention_device()) ? AttentionKernels::hopper
                                                                       : AttentionKernels::mma;
      },
      [&](MetaDevice& meta) { means = meta.attached<AttentionExpectations>().means; });
  const FullAttentionWay way = full_attention_way(device, question);
  means.library_forward = way.forward;
  means.library_backward = way.backward;
  return means;
}

std::string attention_kernels(Device& device, DType dtype) {
  std::string kernels;
  run_on(
      device, [] {}, [&](auto) { kernels = cuda::attention_kernels(dtype); }, [](MetaDevice&) {});
  return kernels;
}

bool lacks_fast_kernels(Device& device) {
  bool lacks = false;
  run_on(
      device, [] {}, [&](auto) { lacks = cuda::lacks_fast_kernels(); }, [](MetaDevice&) {});
  return lacks;
}

}  // namespace elastron::ops
