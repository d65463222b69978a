#include "train/evaluate.h"

#include <cmath>

#include "parallel/agree.h"
#include "train/step.h"

namespace elastron::train {

namespace {

// One group's sums, as doubles that can be added over ranks.
struct Sums {
  static constexpr size_t kValues = 9;
  std::array<double, kValues> v{};

  void add(const Sums& other) {
    for (size_t i = 0; i < kValues; ++i) v[i] += other.v[i];
  }
  EvalFigures figures() const {
    const double n = v[0] > 0 ? v[0] : 1.0;
    return {.documents = int64_t(v[0]),
            .labels = int64_t(v[1]),
            .loss = v[1] > 0 ? v[2] / v[1] : 0.0,
            .accuracy = v[3] / n,
            .msr = v[4] / n,
            .esr_last_layer_last_query = v[5] / n,
            .esr_all_layers_last_query = v[6] / n,
            .esr_all_layers_area = v[7] / n,
            .esr_tiles = v[8] / n};
  }
};

}  // namespace

EvalResult evaluate(const Config& config, parallel::Mesh& mesh, Device& device,
                    model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                    const data::PackSource& source, const std::function<void()>& beat) {
  const model::ModelConfig& m = decoder.config();
  const size_t kinds = source.kinds().size();
  std::vector<Sums> sums(size_t(data::kTaskCount) * kinds);
  const int64_t local_heads = m.kv_heads / mesh.tensor().size();
  const int64_t first_head = local_heads * mesh.tensor().rank();
  std::vector<double> skipped(size_t(m.num_layers * m.kv_heads), 0.0);

  const int64_t shard = mesh.data().rank(), shards = mesh.data().size();
  std::vector<data::Document> documents;
  const auto run = [&] {
    if (documents.empty()) return;
    beat();
    std::vector<const data::Document*> pointers;
    for (const auto& d : documents) pointers.push_back(&d);
    const data::PackedBatch batch = data::make_packed_batch(pointers, 0);
    const auto device_batch = model::DeviceBatch::make(batch, device);
    const auto router_batch = make_router_batch(batch, config.router, 0, 1.0, false);
    model::RoutedHeads heads;
    const Tensor hidden = decoder.forward(device_batch, router_batch, routed, nullptr, &heads);
    const auto loss = decoder.loss(hidden, device_batch,
                                   {.per_row = true, .chunk_rows = config.train.loss.chunk_rows});
    const HeadCounts counts =
        count_heads(heads, batch, config.router.mode, m.q_heads / m.kv_heads, mesh.tensor());
    for (size_t i = 0; i < counts.skipped.size(); ++i) {
      const size_t layer = i / size_t(local_heads), head = i % size_t(local_heads);
      skipped[layer * size_t(m.kv_heads) + size_t(first_head) + head] += counts.skipped[i];
    }

    size_t row = 0;
    for (int64_t s = 0; s < batch.sequences(); ++s) {
      const auto i = size_t(s);
      const int64_t begin = batch.cu_seqlens[i], end = batch.cu_seqlens[i + 1];
      // The answer's tokens are predicted from the positions before them.
      const int64_t answer_begin = begin + batch.range_ids[i][6] + batch.answer_offsets[i] - 1;
      const int64_t answer_end = answer_begin + batch.answer_lengths[i];
      const auto figures =
          router::sparsity_figures(counts.documents[i], m.num_layers, m.kv_heads, end - begin,
                                   config.router.mode, config.router.streaming_rule());
      Sums one;
      bool correct = batch.answer_lengths[i] > 0;
      for (; row < loss.rows.size() && loss.rows[row] < end; ++row) {
        one.v[1] += 1;
        one.v[2] += loss.row_loss[row];
        const int64_t position = loss.rows[row];
        if (position >= answer_begin && position < answer_end &&
            loss.argmax[row] != batch.targets[size_t(position)]) {
          correct = false;
        }
      }
      one.v[0] = 1;
      one.v[3] = correct ? 1 : 0;
      one.v[4] = figures.msr;
      one.v[5] = figures.esr_last_layer_last_query;
      one.v[6] = figures.esr_all_layers_last_query;
      one.v[7] = figures.esr_all_layers_area;
      one.v[8] = figures.esr_tiles;
      sums[size_t(batch.task_ids[i]) * kinds + size_t(batch.kind_ids[i])].add(one);
    }
    documents.clear();
  };
  int64_t tokens = 0;
  for (int64_t p = shard; p < source.packs(); p += shards) {
    for (auto& d : source.pack(p)) {
      // Many short documents or a few long ones: bounded by tokens as well as by count.
      if (tokens + d.length() > config.data.max_tokens) {
        run();
        tokens = 0;
      }
      tokens += d.length();
      documents.push_back(std::move(d));
    }
    if (int64_t(documents.size()) >= config.eval.micro_batch) {
      run();
      tokens = 0;
    }
  }
  run();

  std::vector<double> flat;
  for (const Sums& s : sums) flat.insert(flat.end(), s.v.begin(), s.v.end());
  mesh.data().all_reduce_host(std::span<double>(flat), parallel::ReduceOp::sum);
  mesh.tensor().all_reduce_host(std::span<double>(skipped), parallel::ReduceOp::sum);
  mesh.data().all_reduce_host(std::span<double>(skipped), parallel::ReduceOp::sum);
  EvalResult result;
  Sums all;
  std::map<std::string, Sums> task_sums, kind_sums;
  for (size_t i = 0; i < sums.size(); ++i) {
    Sums s;
    std::copy_n(flat.begin() + std::ptrdiff_t(i * Sums::kValues), Sums::kValues, s.v.begin());
    if (s.v[0] == 0) continue;
    all.add(s);
    task_sums[data::kTaskNames[i / kinds]].add(s);
    kind_sums[source.kinds()[i % kinds]].add(s);
  }
  result.all = all.figures();
  for (int64_t l = 0; l < m.num_layers; ++l) {
    auto& row = result.esr_by_head.emplace_back();
    for (int64_t h = 0; h < m.kv_heads; ++h) {
      row.push_back(skipped[size_t(l * m.kv_heads + h)] /
                    double(std::max<int64_t>(result.all.documents, 1)));
    }
  }
  // Sums of all ranks, so that every rank sees the same.
  parallel::on_all_ranks(mesh.world(), [&] {
    if (std::isfinite(result.all.loss)) return;
    throw NumericalError("the loss is not finite", "evaluation",
                         "check the checkpoint and the data, or compute in float32");
  });
  for (const auto& [name, s] : task_sums) result.by_task[name] = s.figures();
  for (const auto& [name, s] : kind_sums) result.by_kind[name] = s.figures();
  return result;
}

}  // namespace elastron::train
