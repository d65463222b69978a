"""Faults that tests are there to find, each as the edit that brings it back. A row: what is wrong then; the file,
a piece of its text and what stands in its place; the targets to build; the command that must fail, from the build
folder; and what it must say, so that it does not fail for another reason."""
import collections

Fault = collections.namedtuple("Fault", "name file old new targets command says")

ATTENTION = "ops_routed_attention_test"
EMULATED = "ops_cuda_emulated_test"


def case(folder, name, only):
    return [f"tests/{folder}/{name}", f"--gtest_filter={only}"]


# As CTest runs it, with the libraries that stand in for others.
def listed(name):
    return ["ctest", "--output-on-failure", "-R", f"^{name}$"]


# What is compiled.
BUILT = [
    Fault("a Hopper node's build has no Hopper kernels", "cmake/ElastronGpuArchitectures.cmake",
          "    set(${out} 90a-real PARENT_SCOPE)\n  elseif", "    set(${out} 90-real PARENT_SCOPE)\n  elseif",
          [], listed("gpu_architectures"), "not '90a-real'"),
    Fault("a build without Hopper's kernels says nothing on such a GPU", "ops/cuda/attention/kernel_choice.h",
          "  return device.capability / 10 == 9 && !device.hopper_code;", "  return device.capability < 0;",
          ["self_check_test"], case("launch", "self_check_test", "SelfCheck.ABuild*"),
          "ABuildWithoutTheFastKernelsSaysSo"),
]


def machine_code(name, kernel, file, old, new):
    return Fault(name, f"ops/cuda/attention/{file}", old, new, ["elastron_cuda"],
                 listed("ops_cuda_machine_code_test"), kernel)


# What ptxas makes of it: these need the CUDA toolkit.
MACHINE_CODE = [
    machine_code("forward: a branch on the mask between the waits", "forward", "forward_hopper.cu",
                 "      if constexpr (kStep > Step::causal) hide(s, next.begin, next.mask, sights);",
                 "      if (next.mask != KeyMask::none) hide(s, next.begin, next.mask, sights);"),
    machine_code("dq: the scores are waited for with everything else", "dq", "backward_hopper_dq.cu",
                 "      products_wait<1>(s, sums, fragments);", "      products_wait<0>(s, sums, fragments);"),
    machine_code("dk, dv: a branch on the mask between the waits", "dk, dv", "backward_hopper.cu",
                 "      if constexpr (kMask != KeyMask::none) rows.template hide<kMask>(p, sights, dense_from);",
                 "      if (rows.mask != KeyMask::none) rows.template hide<KeyMask::shown>(p, sights, dense_from);"),
    machine_code("dk, dv: too few registers for the sums", "dk, dv", "backward_hopper.cu",
                 "kDim == 64 ? kConsumerRegisters : 224;", "kDim == 64 ? kConsumerRegisters : 168;"),
    machine_code("dq: a product is of half of head_dim", "dq", "backward_hopper_dq.cu",
                 "      multiply_rows<kDim, kKeys>(ds, d_rows, values);\n",
                 "      multiply_rows<kDim / 2, kKeys>(ds, d_rows, values);\n"),
    machine_code("forward: the scores are waited for with everything else", "forward", "forward_hopper.cu",
                 "        products_wait<1>(s);\n", "        products_wait<0>(s);\n"),
]

# What a step asks of a GPU.
COUNTED = [
    Fault("figures are read before the backward pass", "train/step/step.cpp",
          "              numbers, heads, local.exchange());\n  if (trains_decoder_) {",
          "              numbers, heads, local.exchange());\n  figures.read(/*but=*/0);\n  if (trains_decoder_) {",
          ["plan_test"], case("train/plan", "plan_test", "Budgets.OfAMicroBatch"), "within"),
    Fault("the host sums up over ranks between forward and backward", "train/step/step.cpp",
          "              numbers, heads, local.exchange());\n  if (trains_decoder_) {",
          "              numbers, heads, local.exchange());\n  int64_t one = 1;\n"
          "  mesh_.context().all_reduce_host(std::span<int64_t>(&one, 1), parallel::ReduceOp::sum);\n"
          "  if (trains_decoder_) {",
          ["plan_test"], case("train/plan", "plan_test", "Budgets.NoHostSums*"), "NoHostSumsInAMicroBatch"),
    Fault("a GPU is asked for more than a plan says", "ops/rows.cpp",
          "        [&](auto stream) { cuda::gather_rows(pieces, rows, n, item, stream); },",
          "        [&](auto stream) {\n          cuda::gather_rows(pieces, rows, n, item, stream);\n"
          "          cuda::gather_rows(pieces, rows, n, item, stream);\n        },",
          ["planned_ranks_cuda_test"], listed(r"planned_ranks_cuda_test\.np2"), "launches"),
    Fault("a layer asks for a block of memory more, and clears it", "model/mlp.cpp",
          "  Tensor y = region_.leave(down_.forward(ops::swiglu_forward(g.gate, g.up)));",
          "  const Tensor more = Tensor::zeros({1}, x.dtype(), x.device());\n"
          "  Tensor y = region_.leave(down_.forward(ops::swiglu_forward(g.gate, g.up)));",
          ["plan_test"], case("train/plan", "plan_test", "Budgets.OfALayer"), "calls.allocations"),
    Fault("a decoded token is a kernel more in each layer", "model/attention.cpp",
          "  ops::append_to_cache(p.k, p.v, in.positions, cached);",
          "  ops::append_to_cache(p.k, p.v, in.positions, cached);\n"
          "  ops::append_to_cache(p.k, p.v, in.positions, cached);",
          ["plan_test"], case("train/plan", "plan_test", "DecodingBudgets.*"), "DecodingBudgets"),
    Fault("the norm is a reduction for each tensor", "ops/elementwise.cpp",
          "double sum_of_squares(std::span<const Tensor> tensors) {",
          "double sum_of_squares(std::span<const Tensor> tensors) {\n  if (tensors.size() > 1) {\n"
          "    double total = 0;\n    for (const Tensor& x : tensors) total += sum_of_squares(x);\n"
          "    return total;\n  }",
          ["plan_test"], case("train/plan", "plan_test", "Budgets.OfAnUpdate"), "waits"),
    Fault("a kernel for each tensor whose rows are exchanged", "ops/row_pieces.h",
          "kMostRowPieces = 16", "kMostRowPieces = 1",
          ["exchange_counts_test"], case("model", "exchange_counts_test", "*"), "all.forward"),
    Fault("short documents are cut", "data/context_shard.cpp",
          "    for (const Dealt& d : sequences.subspan(cut)) deal_whole(d);",
          "    for (const Dealt& d : sequences.subspan(cut)) deal_chunks(d);",
          ["data_context_shard_test"], case("data", "data_context_shard_test", "*"), "ContextPlan"),
    Fault("whole documents go where they do not balance", "data/context_shard.cpp",
          "  double most_pairs() const { return (1 + kContextPairsSlack) * mean_.pairs; }",
          "  double most_pairs() const { return 1e300; }",
          ["data_context_shard_test"], case("data", "data_context_shard_test", "*"), "ContextPlan.IsEven"),
    Fault("products are timed for every number of rows", "ops/cuda/matmul.cpp",
          "  bucket.rows = row_bucket(key.rows);", "  bucket.rows = key.rows;",
          [EMULATED], case("ops", EMULATED, "MatmulChoice.*:LibraryPlans.*"), "MatmulChoice"),
    Fault("a plan of the library for every length", "ops/cuda/attention/library_batch.h",
          "  return int64_t(std::bit_ceil(uint64_t(std::max<int64_t>(size, 128))));",
          "  return std::max<int64_t>(size, 128);",
          [ATTENTION], case("ops", ATTENTION, "LibraryBatch.*"), "NaturalPacksShareAFewPlans"),
]

def train_test(only):
    return case("train", "train_test", only)


# What trains, on the CPU: tests of one object each.
TRAINING = [
    Fault("rows of a checkpoint that nobody holds are no fault", "train/checkpoint/coverage.cpp",
          '    if (p.offset > at) return "rows from " + std::to_string(at) + " are held by nobody";\n', "",
          ["train_test"], train_test("Tiling.*"), "Tiling.Faults"),
    Fault("the smallest parameters are shared out first", "train/step/optimizer.cpp",
          "parameters[a]->logical_shape.numel() > parameters[b]->logical_shape.numel()",
          "parameters[a]->logical_shape.numel() < parameters[b]->logical_shape.numel()",
          ["train_test"], train_test("ShareParameters.*"), "TheLargestGoFirstToWhoHasLeast"),
    Fault("micro batches go in turns whatever they cost", "train/step/step_batches.cpp",
          "? data::balance(costs, ranks)", "? data::round_robin(count, ranks)",
          ["train_test"], train_test("Deal.*"), "ByCostIsEvenWhereTurnsAreNot"),
    Fault("an attribute of a checkpoint is not guarded", "train/checkpoint/header.cpp",
          '{"format", "elastron_version", "objective", "backbone_fingerprint"}',
          '{"format", "elastron_version", "backbone_fingerprint"}',
          ["train_test"], train_test("Header.*"), "EveryAttributeIsGuarded"),
    Fault("an answer's last token may be wrong", "train/evaluate/evaluate.cpp",
          "    const int64_t answer_end = answer_begin + batch.answer_lengths[i];",
          "    const int64_t answer_end = answer_begin + batch.answer_lengths[i] - 1;",
          ["train_test"], train_test("Evaluate.*"), "FiguresAreThoseByHand"),
    Fault("a pair's margin is left out of its loss", "train/evaluate/pair_scorer.cpp",
          "config.margin ? packed.margin : 0.0", "config.margin && head_ == nullptr ? packed.margin : 0.0",
          ["train_test"], train_test("PairScores.*"), "LossesAndFiguresAreThoseOfTheirScores"),
    Fault("a fingerprint is not of the weights", "train/session.cpp",
          "        checksums = folder->tensor_checksums(mesh.world().rank(), mesh.world().size());",
          "        checksums = std::to_string(mesh.world().size());",
          ["train_test"], train_test("SessionTest.*"), "TheFingerprintIsOfTheWeights"),
    Fault("documents are numbered by micro batch", "train/step/step_batches.cpp",
          "    batch.place_in_step(before[size_t(index)]);", "    batch.place_in_step(before[0]);",
          ["step_batches_test"], listed(r"step_batches_test\.np2"), "DocumentsAreNumberedThroughTheStep"),
    Fault("a frozen weight may change in memory", "train/step/frozen_weights.cpp",
          "    if (digest(*parameters_[i]) == checksums_[i]) continue;",
          "    if (digest(*parameters_[i]).size() == checksums_[i].size()) continue;",
          ["train_test"], train_test("Frozen.*"), "AByteThatChangedIsNamed"),
    Fault("a plan counts blocks smaller than they are", "core/meta_device.cpp",
          "CpuDevice::size_class(bytes) : cuda", "bytes : cuda",
          ["plan_test"], case("train/plan", "plan_test", "PlannedStep.*"), "PlannedStep"),
    Fault("a sum over ranks is missing in a plan", "parallel/recording.cpp",
          '  if (op != ReduceOp::sum || !is_planned_sum(t)) return record("all_reduce", t.bytes(), {t});',
          "  if (op != ReduceOp::sum || !is_planned_sum(t)) return Pending([] {});",
          ["planned_collectives_test"], listed(r"planned_collectives_test\.np2"), "PlannedCollectives"),
    Fault("a gradient that all ranks hold counts once for each", "parallel/gradient_reducer.cpp",
          "    if (p->partition.replicated() && tensor.rank() != 0) continue;\n", "",
          ["elastron", "layout_test"], case("launch", "layout_test", "Layout.RouterCurve*"), "grad_norm"),
]

# Order between streams and ranks.
ORDER = [
    Fault("a collective does not wait for what it sends", "parallel/nccl.cpp",
          "    operation->ready.hold_back(stream_.get());", "",
          ["parallel_nccl_test"], listed(r"parallel_nccl_test\.np2"), "no event orders them"),
    Fault("computing does not wait for a collective's result", "parallel/nccl.cpp",
          "      operation->ended.hold_back(device.stream());", "      (void)device;",
          ["parallel_nccl_test"], listed(r"parallel_nccl_test\.np2"), "no event orders them"),
    Fault("a collective's buffers go before it ends", "parallel/nccl.cpp",
          "    return Pending([operation, kept = std::move(kept), &device = backend_.device()] {",
          "    kept.clear();\n    return Pending([operation, &device = backend_.device()] {",
          ["parallel_nccl_test"], listed(r"parallel_nccl_test\.np2"), "Nccl."),
    Fault("ranks take GPUs by their number alone", "launch/gpu_sharing.cpp",
          "    taken[r].ordinal = int(best - seen[r].begin());",
          "    taken[r].ordinal = int(r % seen[r].size());",
          ["numa_test"], case("launch", "numa_test", "ShareGpus.*"), "WhoHasLittleChoiceGoesFirst"),
    Fault("a rank with a choice takes the only GPU of another", "launch/gpu_sharing.cpp",
          "    taken[r].ordinal = int(best - seen[r].begin());",
          "    taken[r].ordinal = 0;",
          ["cuda_test"], case("launch", "cuda_test", "Cuda.GpusThatRanksSee"), "GpusThatRanksSee"),
    Fault("several GPUs without NCCL go on over MPI", "launch/collectives.cpp",
          "gpus > 1) {", "gpus > 1000) {",
          ["cuda_test"], case("launch", "cuda_test", "Cuda.GpusThatRanksSee:Cuda.WhoTalksOverNccl"), "Cuda."),
    Fault("a plan may fill all of the memory", "train/plan/usable_memory.cpp",
          "  const auto usable = int64_t(std::min(share * total, total - double(outside.total())));",
          "  const auto usable = int64_t(std::max(share * total, total - double(outside.total())));",
          ["plan_test"], case("train/plan", "plan_test", "UsableMemory.*"), "UsableMemory"),
]

# Who decides for whom, and the way back.
ROUTING = [
    Fault("a layer's mean is of one rank's heads", "router/gate_source.cpp",
          "    if (by_layer_) add_over_ranks(mean);\n", "",
          ["layer_router_ranks_test"], listed(r"layer_router_ranks_test\.np2"), "DecideAsOne"),
    Fault("the gradient of a layer's gate is of one rank's heads", "router/gate_source.cpp",
          "    add_over_ranks(sum);\n", "",
          ["layer_router_ranks_test"], listed(r"layer_router_ranks_test\.np2"), "DecideAsOne"),
    Fault("a layer's noise is that of a rank's first head", "router/gate_source.cpp",
          "    if (by_layer_) place_.first_kv_head = 0;", "",
          ["router_test"], case("router", "router_test", "LayerRouter.*"), "NoiseIsTheLayers"),
    Fault("pooled queries have no way back", "model/attention.cpp",
          "                    qkv ? &d_states : nullptr, want.on_gradient);",
          "                    qkv && !routed.reads_queries() ? &d_states : nullptr, want.on_gradient);",
          ["model_test"], case("model", "model_test", "DecoderFixture.*"), "RouterByLayerAndBackbone"),
]

# Kernels, on the emulated GPU.
KERNELS = [
    Fault("dk, dv on Hopper: rows past a tile's end count", "ops/cuda/attention/backward_hopper.cu",
          "      lse[row] = inside ? all_lse[at] * kLog2E : -kNever;",
          "      lse[row] = inside ? all_lse[at] * kLog2E : 0.0f;",
          [EMULATED], case("ops", EMULATED, "HopperGradients.*"), "HopperGradients"),
    Fault("dk, dv on Hopper: rows that no copy writes are not cleared", "ops/cuda/attention/backward_hopper.cu",
          "    memory.queries[stage].clear_from(g.tokens_per_tile * g.tile_heads);\n"
          "    memory.d_rows[stage].clear_from(g.tokens_per_tile * g.tile_heads);",
          "    (void)stage;",
          [EMULATED], case("ops", EMULATED, "HopperGradients.*"), "HopperGradients"),
    Fault("a product on Hopper goes from columns to columns by the wrong step", "ops/cuda/hopper.h",
          "uint32_t(step / 4) * column_bytes_ + uint32_t(step % 4) * 32",
          "uint32_t(step / 4) * column_bytes_ + uint32_t(step % 4) * 16",
          [EMULATED], case("ops", EMULATED, "HopperPrimitives.Products"), "HopperPrimitives.Products"),
    Fault("a stage is handed over in the wrong phase", "ops/cuda/attention/forward_hopper.cu",
          "      barrier_wait(memory.key_tile[keys.stage].empty, keys.parity ^ 1,",
          "      barrier_wait(memory.key_tile[keys.stage].empty, keys.parity,",
          [EMULATED], case("ops", EMULATED, "HopperAttention.FullAndStreaming"), "forward"),
    Fault("what is checked as wrong is used", "ops/cuda/attention/kernel_choice.h",
          "q.allowed >= kernels && !q.forbidden.contains(q.gradients ? gradients : forward)",
          "q.allowed >= kernels && (q.gradients ? gradients : forward) != Family{}",
          [ATTENTION], case("ops", ATTENTION, "KernelChoice.ForbiddenFamilies"), "ForbiddenFamilies"),
    Fault("rows that are not there keep what stood in their place", "ops/cpu/rows.h",
          "        zero_row(p, item, i);", "        (void)item;",
          ["ops_dense_test"], case("ops", "ops_dense_test", "Rows.*"), "NegativeOnesAreZeros"),
    Fault("decoding by a graph stays at one position", "inference/decoding.cpp",
          "    now.push_back(token.position);",
          "    now.push_back(token.position / 8 * 8);",
          ["generation_cuda_emulated_test"],
          case("inference", "generation_cuda_emulated_test", "GenerationOnAGpu.*"), "HasTheIdsOfTheCpu"),
]

# Weights in FP8.
STORAGE = [
    Fault("a tensor rank's part begins with a block of its own", "parallel/shard.cpp",
          "          .out_offset = partition.dim == 0 ? partition.offset % blocks.out : 0,",
          "          .out_offset = 0,",
          ["model_test"], case("model", "model_test", "QuantisedFolder.*"), "AnySplitHasTheWholesValuesAndScales"),
    Fault("a scale that changes in memory goes unnoticed", "train/step/frozen_weights.cpp",
          "  return digest(p.value) + (p.scale.defined() ? digest(p.scale.values) : \"\");",
          "  return digest(p.value);",
          ["train_test"], case("train", "train_test", "Frozen.*"), "AScaleThatChangedIsNamedToo"),
    Fault("parts of a converted weight are not what a plan counts", "ops/linear.cpp",
          "  if (step >= side) return f(as_multiplied(w, activations), 0, side);",
          "  if (step >= side || w.tensor().device().kind() == DeviceKind::meta) {\n"
          "    return f(as_multiplied(w, activations), 0, side);\n  }",
          [EMULATED], case("ops", EMULATED, "QuantisedProducts.*"), "InPartsAsPlanned"),
]

# Texts that are decoded side by side.
INFERENCE = [
    Fault("a row is summed otherwise where others are beside it", "ops/cpu/few_rows.cpp",
          "  return x.size(0) <= kRowsAlike &&", "  return x.size(0) > 1 && x.size(0) <= kRowsAlike &&",
          ["ops_dense_test"], case("ops", "ops_dense_test", "*LinearOfFewRows.*"), "GivesARowWhatItGetsAlone"),
    Fault("more texts in a batch than have products of their own", "inference/scheduler.cpp",
          "records ? options_.slots : ops::kRowsAlike;", "options_.slots;",
          ["inference_test"], case("inference", "inference_test", "Requests.*"), "BringWhatTheyBringAlone"),
    Fault("pages of a text that has ended stay", "inference/sequence_cache.cpp",
          "  for (const Layer& layer : layers_) pool_.give_back(layer.pages);",
          "  pool_.give_back(layers_.front().pages);",
          ["inference_test"], case("inference", "inference_test", "Requests.*"), "used_pages"),
    Fault("a request is let in before its pages are free", "inference/scheduler.cpp",
          "  const int64_t pages = shape_of(request).most_pages(pool_);\n  if (request.prefix",
          "  const int64_t pages = shape_of(request).most_pages(pool_) / 2;\n  if (request.prefix",
          ["inference_test"], case("inference", "inference_test", "Requests.*"), "AreLetInAsMemoryAllows"),
    Fault("ranks let a request in by what each of them has free", "inference/scheduler.cpp",
          "  if (options_.cache_bytes > 0) {\n    engine_.mesh()", "  if (options_.cache_bytes < 0) {\n    engine_.mesh()",
          ["context_ranks_test"], listed(r"context_ranks_test\.np2"), "AreLetInByAllRanksAlike"),
    Fault("a context rank caches the heads of the first one", "inference/cache_of_ranks.cpp",
          "    part_ = heads_over->rank();", "    part_ = 0;",
          ["context_ranks_test"], listed(r"context_ranks_test\.np2"), "BringWhatOneRankBrings"),
    Fault("tiles that all ranks visited count as often", "inference/engine.cpp",
          "    for (Tensor& tiles : heads->visited) tiles = tiles.slice(0, 0, 0);", "",
          ["context_ranks_test"], listed(r"context_ranks_test\.np2"), "esr_tiles"),
    Fault("tokens behind a prefix are read across the blocks of a ring", "inference/continuation.cpp",
          "  return std::min(rows, shape.rule.block - position % shape.rule.block);", "  return rows;",
          ["inference_test"], case("inference", "inference_test", "*Prefixes.*"), "AreReadOnAsGeneratedTextIs"),
    Fault("another prefix of the same length is taken for this one", "inference/prefix_store.cpp",
          "std::ranges::equal(prefix->ids, ids)", "prefix->ids.size() == ids.size()",
          ["inference_test"], case("inference", "inference_test", "*Prefixes.*"), "Prefixes"),
    Fault("an end comes before the least number of tokens", "inference/scheduler.cpp",
          "int64_t(text.generated.size()) < request.min_tokens;", "int64_t(text.generated.size()) < request.min_tokens - 1;",
          ["inference_test"], case("inference", "inference_test", "Requests.*"), "EndByAnIdOnlyAfterTheLeastNumber"),
    Fault("a request that fails takes the others with it", "inference/scheduler.cpp",
          "    event.error = std::current_exception();\n", "    throw;\n",
          ["inference_test"], case("inference", "inference_test", "Requests.*"), "FailAlone"),
    Fault("the beginning of a stop string is given away", "inference/text_stream.cpp",
          "    if (text.ends_with(stop.substr(0, n))) return n;", "    if (text == stop.substr(0, n)) return n;",
          ["inference_test"], case("inference", "inference_test", "TextStreams.*"), "TextStreams"),
]

# The check of a GPU.
CHECK = [
    Fault("a step that takes no TERM is left alone", "bench/gpu/check/bounded.py",
          "((signal.SIGTERM, grace), (signal.SIGKILL, 5))", "((signal.SIGTERM, grace),)",
          [], listed("gpu_check"), "FAIL"),
    Fault("a step may take as long as it likes", "bench/gpu/check/bounded.py",
          "            code = process.wait(timeout=limit)", "            code = process.wait()",
          [], listed("gpu_check"), "FAIL"),
    Fault("a step may take what is left of the whole, and more", "bench/gpu/check/steps.py",
          "min(limit, left, self.budget.limit)", "min(limit, self.budget.limit)",
          [], listed("gpu_check"), "FAIL"),
    Fault("what a step leaves behind lives on", "bench/gpu/check/bounded.py",
          "        left, stuck = end_all(grace if late else min(grace, 1))", "        left, stuck = 0, 0",
          [], listed("gpu_check"), "FAIL"),
    Fault("results come when all is over", "bench/gpu/check/report.py",
          '        print(f"{part} {name}: {result}, {seconds:.1f} s", flush=True)\n        self.save()',
          '        print(f"{part} {name}: {result}, {seconds:.1f} s", flush=True)',
          [], listed("gpu_check"), "FAIL"),
]

# A mixture of experts.
EXPERTS = [
    Fault("experts: the gradient through a token's weights is another one", "model/expert_mlp.cpp",
          "ops::expert_weights_backward(d_weights,", "ops::expert_weights_backward(g.chosen.weights,",
          ["model_test"], case("model", "model_test", "ExpertBlock.*"), "HasTheGradientOfItsInput"),
    Fault("experts are chosen again in the backward pass", "model/expert_mlp.cpp",
          "gate_up(saved.input, saved.experts);", "gate_up(saved.input, {});",
          ["model_test"], case("model", "model_test", "ExpertBlock.*"), "KeepsWhatWasChosen"),
    Fault("rows of padding count in the load of experts", "train/step/step_figures.cpp",
          "if (p.padded) expert_loads_.take_out(layer, p.reading.whole_numbers(next++));",
          "if (p.padded) p.reading.whole_numbers(next++);",
          ["experts_test"], case("launch", "experts_test", "MixtureOfExperts.Routers*"), "sequence=true"),
]

# Scores of benchmarks.
SCORES = [
    Fault("a class name behind one that is taken out is looked at", "benchmark/scores/text_scores.cpp",
          "    found.erase(std::ranges::find(found, name));", "    found.erase(found.begin() + ptrdiff_t(i--));",
          ["benchmark_scores_test"], case("benchmark", "benchmark_scores_test", "Scores.*"), "EqualThePackages"),
    Fault("of equal subsequences another one is walked", "benchmark/scores/rouge.cpp",
          "lengths[(i - 1) * row + j] > lengths[i * row + j - 1]", "lengths[(i - 1) * row + j] >= lengths[i * row + j - 1]",
          ["benchmark_scores_test"], case("benchmark", "benchmark_scores_test", "Scores.*"), "EqualThePackages"),
    Fault("a bucket without rows has the score 0", "benchmark/longbench/score_folder.cpp",
          "  if (scores.empty()) return {};\n  return round_as_numpy", "  if (scores.empty()) return 0.0;\n  return round_as_numpy",
          ["benchmark_score_folder_test"], case("benchmark", "benchmark_score_folder_test", "ScoreLongBench.*"),
          "BucketsAndMissingOnes"),
    Fault("half a prediction is gone on with", "benchmark/prediction_file.cpp",
          "    if (torn) cut_off(path, whole);", "    (void)torn;",
          ["benchmark_rows_test"], case("benchmark", "benchmark_rows_test", "Predictions.*"), "AStoppedRunGoesOn"),
    Fault("predictions are written as they come", "benchmark/running/shared_rows.cpp",
          "it != early.end() && it->first == next; ++next", "it != early.end(); ++next",
          ["benchmark_shared_rows_test"], case("benchmark", "benchmark_shared_rows_test", "SharedRows.*"),
          "AreKeptInTheirOrder"),
    Fault("a bare prompt begins with its text", "benchmark/running/prompter.cpp",
          "  data::lead(question.ids, leading_);", "  if (question.ids.empty()) data::lead(question.ids, leading_);",
          ["benchmark_run_tasks_test"], case("benchmark", "benchmark_run_tasks_test", "Prompts.*"),
          "BeginWithWhatTheTokenizerPutsBeforeAText"),
    Fault("a served text begins with its text", "serving/api_request.cpp",
          "  if (leading) data::lead(r.prompts", "  if (leading && r.prompts.empty()) data::lead(r.prompts",
          ["serving_test"], case("serving", "serving_test", "ApiRequests.*"), "TextsBeginAsTheTokenizerHasThem"),
    Fault("a request without memory ends its server", "inference/scheduler.cpp",
          "if (engine_.mesh().tensor().size() * engine_.mesh().context().size() > 1) throw;", "throw;",
          ["inference_test"], case("inference", "inference_test", "Requests.*"), "WithoutMemoryFailAlone"),
    Fault("a summary of a dialogue may be empty", "benchmark/longbench/run_tasks.cpp",
          "question.min_tokens = stop_ids_.empty() ? 0 : 1;", "question.min_tokens = 0;",
          ["benchmark_run_tasks_test"], case("benchmark", "benchmark_run_tasks_test", "Prompts.*"),
          "OfLongBenchAreBareForSomeSets"),
]


def report(name, file, old, new, only, says):
    return Fault(name, f"report/{file}", old, new, ["report_test"], case("report", "report_test", only), says)


# Pages: what a reader would take for the truth.
REPORTS = [
    report("a name is markup of the page", "markup.cpp", "      case '<': out += \"&lt;\"; break;\n", "",
           "ReportPage.NamesAndValuesAreEscaped", "script"),
    report("a curve loses its peaks", "plot/reduce.cpp", "if (points[end].y > points[high].y) high = end;", "",
           "Reduction.*", "KeepsEveryColumnsEndsAndPeaks"),
    report("a CSV file has rounded numbers", "table.cpp", "if (cell.number) return exact(*cell.number);",
           "if (cell.number) return rounded(*cell.number);", "CurvesFigure.Numbers*", "NumbersAreThoseThatWereGiven"),
    report("a broken line of metrics is passed over", "inputs/metrics_series.cpp", "  if (!has_step) {\n    throw",
           "  if (!has_step) return;\n  if (!has_step) {\n    throw", "Inputs.Broken*", "BrokenLinesOfMetricsAreNamed"),
    report("a claim holds that is not shown", "reproduction/claims.cpp", "return *value.low > 0 ", "return value.mean > 0 ",
           "Verdicts.*", "AreOfTheWholeInterval"),
    report("intervals are those of many seeds", "reproduction/estimate.cpp", "const double half = student_95(int(values.size()) - 1)",
           "const double half = student_95(1000)", "Student.*", "IntervalsOfMeans"),
    report("a job that was done again counts twice", "inputs/reproduction.cpp",
           "before == lines.end() ? ", "before == lines.end() || before != lines.end() ? ", "ReproductionInput.*", "TheLastLineOfAJobCounts"),
    report("routers are compared with static heads of another MSR", "reproduction/claims.cpp",
           "at_msr(points, accuracy_over(side), *msr)", "at_msr(points, accuracy_over(side), 0.5)", "Claims.*",
           "HaveTheValuesThatWereWorkedOut"),
]

FAULTS = BUILT + MACHINE_CODE + COUNTED + TRAINING + ORDER + ROUTING + KERNELS + STORAGE + INFERENCE + CHECK + EXPERTS + SCORES + REPORTS
