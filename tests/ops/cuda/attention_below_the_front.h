// Routed attention on both devices, for every pair of sets. On the GPU the kernels are called below
// the front of the op, which would choose blocks itself: they get those that the CPU chose, the
// CPU's outputs for the backward pass, and outputs full of NaN to write over.
#pragma once
#include <limits>

#include "ops/cuda/attention/routed_attention.h"
#include "ops/cuda/attention/tile_schedule.h"
#include "tests/ops/cuda/both_devices.h"
#include "tests/ops/routed_attention_problem.h"

namespace elastron::testing {

class AttentionBelowTheFront : public test::BothDevices {
 protected:
  // Numbers that a kernel must write over.
  template <class T>
  Tensor unwritten(const Shape& shape) {
    const T nan = T(std::numeric_limits<float>::quiet_NaN());
    return Tensor::from(std::vector<T>(size_t(shape.numel()), nan), shape, *gpu_);
  }

  ops::BlockChoice there(const ops::BlockChoice& choice) {
    if (!choice.defined()) return choice;
    return {on_gpu(choice.rows), on_gpu(choice.columns), on_gpu(choice.starts),
            choice.block,        choice.shared_by,       choice.first};
  }

  template <class Args, class Storage>
  Args arguments(const AttentionTensors<Storage>& tensors, const AttentionProblem& p,
                 const ops::BlockChoice& choice) {
    const auto& in = tensors.input;
    const auto view = [](const Tensor& t) { return ops::HeadsView{t.raw(), t.stride(0)}; };
    Args args;
    args.q = view(in.q);
    args.k = view(in.k);
    args.v = view(in.v);
    args.gate = in.gate.template data<uint8_t>();
    args.varlen = in.varlen;
    args.sets = in.pattern.kinds();
    args.rule = in.pattern.rule();
    args.choice = choice.view();
    args.shape = {p.q_heads, p.kv_heads, p.head_dim};
    args.scale = p.scale;
    return args;
  }

  // The problem on both devices: forward, backward of all pairs or the closed ones.
  template <class Storage>
  std::pair<AttentionRun, AttentionRun> run(const AttentionProblem& p, ops::Branches branches,
                                            ops::cuda::Pairs pairs = ops::cuda::Pairs::all) {
    const bool both = branches == ops::Branches::both;
    AttentionRun cpu, gpu;
    const AttentionTensors<Storage> here(p, cpu_);
    const auto expected = ops::routed_attention_forward(here.input, branches);
    const auto gradient =
        ops::routed_attention_backward(here.d_out, here.input, expected, true, both);
    cpu.selected = widened<Storage>(expected.selected);
    cpu.other = widened<Storage>(expected.other);
    cpu.lse = widened<float>(expected.lse);
    cpu.lse_other = widened<float>(expected.lse_other);
    cpu.visited = expected.visited.template to_vector<int64_t>();
    cpu.dq = widened<Storage>(gradient.q);
    cpu.dk = widened<Storage>(gradient.k);
    cpu.dv = widened<Storage>(gradient.v);
    cpu.d_gate = widened<float>(gradient.gate);

    const AttentionTensors<Storage> tensors(p, *gpu_);
    const ops::BlockChoice choice = there(expected.choice);
    const Tensor cu = Tensor::from(p.cu_seqlens, {int64_t(p.cu_seqlens.size())}, *gpu_);
    const ops::cuda::SequenceTiles tiles{cu.data<int32_t>(), cu.data<int32_t>()};
    const auto stream = gpu_->stream();
    const Shape heads = tensors.input.q.shape(), keys = tensors.input.k.shape();
    const Shape rows{p.tokens(), p.q_heads};

    auto args = arguments<ops::AttentionForwardArgs>(tensors, p, choice);
    const Tensor selected = unwritten<Storage>(heads), lse = unwritten<float>(rows);
    const Tensor other = both ? unwritten<Storage>(heads) : Tensor();
    const Tensor lse_other = both ? unwritten<float>(rows) : Tensor();
    Tensor visited = Tensor::zeros({p.sequences(), p.kv_heads}, DType::i64, *gpu_);
    args.selected = selected.raw();
    args.lse = lse.raw();
    args.other = both ? other.raw() : nullptr;
    args.lse_other = both ? lse_other.raw() : nullptr;
    args.visited = visited.data<int64_t>();
    ops::cuda::count_visited_tiles(args, tiles, stream);
    ops::cuda::routed_attention_forward<Storage>(args, tiles, pairs, *gpu_, stream);
    gpu.selected = widened<Storage>(selected);
    gpu.other = widened<Storage>(other);
    gpu.lse = widened<float>(lse);
    gpu.lse_other = widened<float>(lse_other);
    gpu.visited = visited.template to_vector<int64_t>();

    // From the CPU's outputs, so that errors do not add up and open pairs have theirs.
    const Tensor known = on_gpu(expected.selected), known_other = on_gpu(expected.other);
    const Tensor known_lse = on_gpu(expected.lse);
    auto back = arguments<ops::AttentionBackwardArgs>(tensors, p, choice);
    const Tensor row_dots = unwritten<float>(rows), gaps = unwritten<float>(rows);
    const Tensor d_gate = unwritten<float>({p.sequences(), p.kv_heads});
    const Tensor dq = unwritten<Storage>(heads), dk = unwritten<Storage>(keys),
                 dv = unwritten<Storage>(keys);
    back.d_out = {tensors.d_out.raw(), tensors.d_out.stride(0)};
    back.selected = known.raw();
    back.lse = known_lse.raw();
    back.row_dots = row_dots.raw();
    back.dq = dq.raw();
    back.dk = dk.raw();
    back.dv = dv.raw();
    if (both) {
      back.other = known_other.raw();
      back.d_gate = d_gate.raw();
    }
    ops::cuda::routed_attention_row_dots<Storage>(
        back, tiles, both ? static_cast<float*>(gaps.raw()) : nullptr, stream);
    ops::cuda::routed_attention_gradients<Storage>(back, tiles, pairs, *gpu_, stream);
    gpu.dq = widened<Storage>(dq);
    gpu.dk = widened<Storage>(dk);
    gpu.dv = widened<Storage>(dv);
    if (both) gpu.d_gate = widened<float>(d_gate);
    return {cpu, gpu};
  }

  static double most(const std::vector<double>& x) {
    double found = 1;
    for (const double v : x) found = std::max(found, std::abs(v));
    return found;
  }

  template <class Storage>
  void compare(const AttentionProblem& p, double tolerance,
               const std::vector<ops::Branches>& which = {ops::Branches::both,
                                                          ops::Branches::selected}) {
    for (const ops::Branches branches : which) {
      SCOPED_TRACE(branches == ops::Branches::both ? "both" : "selected");
      const auto [cpu, gpu] = run<Storage>(p, branches);
      for (const auto member : {&AttentionRun::selected, &AttentionRun::other, &AttentionRun::lse,
                                &AttentionRun::lse_other}) {
        EXPECT_LE(largest_error(cpu.*member, gpu.*member), tolerance);
      }
      for (const auto member :
           {&AttentionRun::dq, &AttentionRun::dk, &AttentionRun::dv, &AttentionRun::d_gate}) {
        EXPECT_LE(largest_error(cpu.*member, gpu.*member), tolerance * most(cpu.*member));
      }
      EXPECT_EQ(cpu.visited, gpu.visited);
    }
  }
};

}  // namespace elastron::testing
