#include "train/evaluate/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parallel/agree.h"
#include "train/step/local_batch.h"
#include "train/step/step.h"

namespace elastron::train {

namespace {

// One group's sums, as doubles that can be added over ranks.
struct Sums {
  static constexpr size_t kValues = 10;
  std::array<double, kValues> v{};

  void add(const Sums& other) {
    for (size_t i = 0; i < kValues; ++i) v[i] += other.v[i];
  }
  EvalFigures figures() const {
    const double n = v[0] > 0 ? v[0] : 1.0;
    return {.documents = int64_t(v[0]),
            .labels = int64_t(v[1]),
            .loss = v[1] > 0 ? v[2] / v[1] : 0.0,
            .answers = int64_t(v[9]),
            .accuracy = v[9] > 0 ? std::optional(v[3] / v[9]) : std::nullopt,
            .msr = v[4] / n,
            .esr_last_layer_last_query = v[5] / n,
            .esr_all_layers_last_query = v[6] / n,
            .esr_all_layers_area = v[7] / n,
            .esr_tiles = v[8] / n};
  }
};

// Of a document, over all its rows.
struct Answer {
  double labels = 0, loss = 0;
  double wrong = 0;  // tokens of the answer that are not the most likely ones
};

// Collective over the context group, whose ranks have rows of a document each.
std::vector<Answer> judge_answers(const data::PackedBatch& batch, const LocalBatch& local,
                                  const parallel::CrossEntropyResult& loss,
                                  parallel::Communicator& context) {
  constexpr size_t kSums = 3;
  std::vector<double> sums(size_t(batch.sequences()) * kSums, 0.0);
  for (size_t row = 0; row < loss.rows.size(); ++row) {
    const int64_t position = local.whole_row(loss.rows[row]);
    const auto after = std::ranges::upper_bound(batch.cu_seqlens, int32_t(position));
    const auto i = size_t(after - batch.cu_seqlens.begin()) - 1;
    // The answer's tokens are predicted from the positions before them.
    const int64_t answer_begin =
        batch.cu_seqlens[i] + batch.range_ids[i][6] + batch.answer_offsets[i] - 1;
    const int64_t answer_end = answer_begin + batch.answer_lengths[i];
    double* sum = &sums[i * kSums];
    sum[0] += 1;
    sum[1] += loss.row_loss[row];
    if (position >= answer_begin && position < answer_end &&
        loss.argmax[row] != batch.targets[size_t(position)]) {
      sum[2] += 1;
    }
  }
  context.all_reduce_host(std::span<double>(sums), parallel::ReduceOp::sum);
  std::vector<Answer> answers;
  for (size_t i = 0; i < sums.size(); i += kSums) {
    answers.push_back({sums[i], sums[i + 1], sums[i + 2]});
  }
  return answers;
}

}  // namespace

std::string accuracy_text(const EvalFigures& figures) {
  return figures.accuracy ? fmt::format("{:.3f}", *figures.accuracy) : "-";
}

nlohmann::ordered_json accuracy_json(const EvalFigures& figures) {
  return figures.accuracy ? nlohmann::ordered_json(*figures.accuracy) : nlohmann::ordered_json();
}

EvalResult evaluate(const Config& config, parallel::Mesh& mesh, Device& device,
                    model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                    const data::PackSource& source, const OnProgress& on_progress) {
  const model::ModelConfig& m = decoder.config();
  const size_t kinds = source.kinds().size();
  std::vector<Sums> sums(size_t(data::kTaskCount) * kinds);
  const int64_t local_heads = m.kv_heads / mesh.tensor().size();
  const int64_t first_head = local_heads * mesh.tensor().rank();
  std::vector<double> skipped(size_t(m.num_layers * m.kv_heads), 0.0);

  const int64_t shard = mesh.data().rank(), shards = mesh.data().size();
  const int64_t own = source.packs() / shards + (shard < source.packs() % shards ? 1 : 0);
  int64_t done = 0, taken = 0;  // packs that were computed, and that are in `documents` at least
  std::vector<data::Document> documents;
  const auto run = [&] {
    if (documents.empty()) return;
    on_progress(uint64_t(done), uint64_t(own));
    std::vector<const data::Document*> pointers;
    for (const auto& d : documents) pointers.push_back(&d);
    const data::PackedBatch batch = data::make_packed_batch(pointers);
    const LocalBatch local(batch, config, mesh, device, 0, 1.0, /*sample=*/false);
    model::RoutedHeads heads;
    const Tensor hidden =
        decoder.forward(local.device(), local.router(), routed, {.heads = &heads});
    const auto loss = decoder.loss(hidden, local.device(),
                                   {.per_row = true, .chunk_rows = config.train.loss.chunk_rows});
    const HeadCounts counts = count_heads(
        heads, batch, local.exchange(), config.router.head_pattern(), m.q_heads / m.kv_heads, mesh);
    for (size_t i = 0; i < counts.skipped.size(); ++i) {
      const size_t layer = i / size_t(local_heads), head = i % size_t(local_heads);
      skipped[layer * size_t(m.kv_heads) + size_t(first_head) + head] += counts.skipped[i];
    }

    const auto answers = judge_answers(batch, local, loss, mesh.context());
    for (int64_t s = 0; s < batch.sequences(); ++s) {
      const auto i = size_t(s);
      const auto figures = router::sparsity_figures(counts.documents[i], m.num_layers, m.kv_heads,
                                                    batch.length(s), config.router.head_pattern());
      Sums one;
      one.v[1] = answers[i].labels;
      one.v[2] = answers[i].loss;
      one.v[0] = 1;
      one.v[9] = batch.answer_lengths[i] > 0 ? 1 : 0;
      one.v[3] = one.v[9] > 0 && answers[i].wrong == 0 ? 1 : 0;
      one.v[4] = figures.msr;
      one.v[5] = figures.esr_last_layer_last_query;
      one.v[6] = figures.esr_all_layers_last_query;
      one.v[7] = figures.esr_all_layers_area;
      one.v[8] = figures.esr_tiles;
      sums[size_t(batch.task_ids[i]) * kinds + size_t(batch.kind_ids[i])].add(one);
    }
    documents.clear();
    done = taken;
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
    ++taken;
    if (int64_t(documents.size()) >= config.eval.micro_batch) {
      run();
      tokens = 0;
    }
  }
  run();
  on_progress(uint64_t(own), uint64_t(own));

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
