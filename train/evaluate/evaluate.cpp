#include "train/evaluate/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "parallel/agree.h"
#include "train/metrics/reduce.h"
#include "train/step/head_counts.h"
#include "train/step/local_batch.h"

namespace elastron::train {

namespace {

// Sums over documents.
struct EvalSums {
  DocumentSums documents;
  double labels = 0, loss = 0;
  double answers = 0, right = 0;  // documents that have an answer, and whose whole answer is right

  EvalFigures figures() const {
    return {documents.means(), int64_t(labels), labels > 0 ? loss / labels : 0.0, int64_t(answers),
            answers > 0 ? std::optional(right / answers) : std::nullopt};
  }
};

const FigureOf<EvalFigures> kEvalFigures[] = {
    {{"documents", "", "documents", "evaluated"},
     [](const EvalFigures& f) -> FigureValue { return f.documents; }},
    {{"labels", "", "tokens", "that the loss is of"},
     [](const EvalFigures& f) -> FigureValue { return f.labels; }},
    {{"loss", "", "nats", "cross-entropy per label"},
     [](const EvalFigures& f) -> FigureValue { return f.loss; }},
    {{"answers", "", "documents", "that have an answer"},
     [](const EvalFigures& f) -> FigureValue { return f.answers; }},
    {{"accuracy", "", "share",
      "documents whose whole answer is the most likely one, of those that have an answer; `null` "
      "where none has"},
     accuracy_json},
};

// A document's labels, over all its rows.
struct Answer {
  double labels = 0, loss = 0;
  double wrong = 0;  // tokens of the answer that are not the most likely ones
};

// Collective over the context group, whose ranks have rows of a document each.
std::vector<Answer> judge_answers(const data::PackedBatch& batch, const LocalBatch& local,
                                  const parallel::CrossEntropyResult& loss,
                                  parallel::Communicator& context) {
  std::vector<Answer> answers(size_t(batch.sequences()));
  for (size_t row = 0; row < loss.rows.size(); ++row) {
    const int64_t position = local.whole_row(loss.rows[row]);
    const auto after = std::ranges::upper_bound(batch.cu_seqlens, int32_t(position));
    const auto i = size_t(after - batch.cu_seqlens.begin()) - 1;
    // The answer's tokens are predicted from the positions before them.
    const int64_t answer_begin =
        batch.cu_seqlens[i] + batch.range_ids[i][6] + batch.answer_offsets[i] - 1;
    const int64_t answer_end = answer_begin + batch.answer_lengths[i];
    answers[i].labels += 1;
    answers[i].loss += loss.row_loss[row];
    if (position >= answer_begin && position < answer_end &&
        loss.argmax[row] != batch.targets[size_t(position)]) {
      answers[i].wrong += 1;
    }
  }
  all_reduce_sums(answers, context);
  return answers;
}

// The source's documents of this data rank, in forward passes that are bounded by tokens as well as
// by count: many short documents or a few long ones.
class Evaluator {
 public:
  Evaluator(const Config& config, parallel::Mesh& mesh, Device& device, model::Decoder& decoder,
            std::vector<router::RoutedLayer>& routed, const data::PackSource& source,
            const OnProgress& on_progress, const EvalExtras& extras)
      : config_(config),
        mesh_(mesh),
        device_(device),
        decoder_(decoder),
        routed_(routed),
        source_(source),
        on_progress_(on_progress),
        kinds_(source.kinds().size()),
        local_heads_(decoder.config().kv_heads / mesh.tensor().size()),
        sums_(size_t(data::kTaskCount) * kinds_),
        heads_(size_t(decoder.config().num_layers * decoder.config().kv_heads)),
        skipped_(heads_, 0.0),
        full_(kinds_ * heads_, 0.0) {
    if (extras.features) features_.emplace(source.kinds(), decoder.config().num_layers);
  }

  void run() {
    const int64_t shard = mesh_.data().rank(), shards = mesh_.data().size();
    const int64_t own = source_.packs() / shards + (shard < source_.packs() % shards ? 1 : 0);
    int64_t done = 0, taken = 0;  // packs that were computed, and that are in documents_ at least
    const auto pass = [&] {
      if (documents_.empty()) return;
      on_progress_(uint64_t(done), uint64_t(own));
      forward();
      documents_.clear();
      done = taken;
    };
    int64_t tokens = 0;
    for (int64_t p = shard; p < source_.packs(); p += shards) {
      for (auto& d : source_.pack(p)) {
        if (tokens + d.length() > config_.data.max_tokens) {
          pass();
          tokens = 0;
        }
        tokens += d.length();
        documents_.push_back(std::move(d));
      }
      ++taken;
      if (int64_t(documents_.size()) >= config_.eval.micro_batch) {
        pass();
        tokens = 0;
      }
    }
    pass();
    on_progress_(uint64_t(own), uint64_t(own));
  }

  // Collective. Of all ranks.
  EvalResult result() {
    all_reduce_sums(sums_, mesh_.data());
    for (std::vector<double>* of_heads : {&skipped_, &full_}) {
      mesh_.tensor().all_reduce_host(std::span<double>(*of_heads), parallel::ReduceOp::sum);
      mesh_.data().all_reduce_host(std::span<double>(*of_heads), parallel::ReduceOp::sum);
    }
    EvalSums all;
    std::map<std::string, EvalSums> tasks, kinds;
    for (size_t i = 0; i < sums_.size(); ++i) {
      if (sums_[i].documents.documents == 0) continue;
      add(all, sums_[i]);
      add(tasks[data::kTaskNames[i / kinds_]], sums_[i]);
      add(kinds[source_.kinds()[i % kinds_]], sums_[i]);
    }
    EvalResult result;
    result.all = all.figures();
    for (const auto& [name, s] : tasks) result.by_task[name] = s.figures();
    for (const auto& [name, s] : kinds) result.by_kind[name] = s.figures();
    result.esr_by_head = by_head(skipped_, double(std::max<int64_t>(result.all.documents, 1)));
    std::map<std::string, std::vector<double>> full;
    for (size_t i = 0; i < full_.size(); ++i) {
      auto& of_kind = full[source_.kinds()[i / heads_]];
      of_kind.resize(heads_);
      of_kind[i % heads_] += full_[i];
    }
    for (const auto& [name, figures] : result.by_kind) {
      result.full_by_kind[name] = by_head(full.at(name), double(figures.documents));
    }
    if (features_) {
      KindFeatures features = features_->cosines(mesh_, config_.router.by_layer());
      if (!features.kinds.empty()) result.features = std::move(features);
    }
    return result;
  }

 private:
  // Sums [layers, kv_heads] -> their shares of `documents`, by layer.
  std::vector<std::vector<double>> by_head(std::span<const double> sums, double documents) const {
    std::vector<std::vector<double>> rows(size_t(decoder_.config().num_layers));
    const size_t heads = size_t(decoder_.config().kv_heads);
    for (size_t i = 0; i < sums.size(); ++i) rows[i / heads].push_back(sums[i] / documents);
    return rows;
  }

  void forward() {
    std::vector<const data::Document*> pointers;
    for (const auto& d : documents_) pointers.push_back(&d);
    const data::PackedBatch batch = data::make_packed_batch(pointers);
    const LocalBatch local(batch, config_, mesh_, device_, 0, 1.0, /*sample=*/false);
    model::RoutedHeads heads;
    router::RouterBatch router = local.router();
    if (features_) router.observer = &*features_;
    const Tensor hidden = decoder_.forward(local.device(), router, routed_, {.heads = &heads});
    const auto loss = decoder_.loss(hidden, local.device(), {.per_row = true});
    const auto& m = decoder_.config();
    const HeadCounts counts =
        count_heads(heads, batch, local.exchange(), config_.router.head_pattern(),
                    m.q_heads / m.kv_heads, mesh_);
    count(batch, counts, judge_answers(batch, local, loss, mesh_.context()));
    if (features_) features_->take(batch.kind_ids);
  }

  void count(const data::PackedBatch& batch, const HeadCounts& counts,
             const std::vector<Answer>& answers) {
    const auto& m = decoder_.config();
    count_by_head(batch, counts);
    for (size_t i = 0; i < answers.size(); ++i) {
      const bool has_answer = batch.answer_lengths[i] > 0;
      EvalSums one{.documents = {},
                   .labels = answers[i].labels,
                   .loss = answers[i].loss,
                   .answers = has_answer ? 1.0 : 0.0,
                   .right = has_answer && answers[i].wrong == 0 ? 1.0 : 0.0};
      one.documents.count(
          {router::sparsity_figures(counts.documents[i], m.num_layers, m.kv_heads,
                                    batch.length(int64_t(i)), config_.router.head_pattern())});
      add(sums_[size_t(batch.task_ids[i]) * kinds_ + size_t(batch.kind_ids[i])], one);
    }
  }

  // Of this rank's heads.
  void count_by_head(const data::PackedBatch& batch, const HeadCounts& counts) {
    const int64_t first_head = local_heads_ * mesh_.tensor().rank();
    for (size_t i = 0; i < counts.skipped.size(); ++i) {
      const auto [layer, head] = std::div(int64_t(i), local_heads_);
      const auto place = size_t(layer * decoder_.config().kv_heads + first_head + head);
      skipped_[place] += counts.skipped[i];
      for (int64_t d = 0; d < batch.documents(); ++d) {
        full_[size_t(batch.kind_ids[size_t(d)]) * heads_ + place] +=
            counts.numbers.gates[counts.numbers.at(layer, d, head)];
      }
    }
  }

  const Config& config_;
  parallel::Mesh& mesh_;
  Device& device_;
  model::Decoder& decoder_;
  std::vector<router::RoutedLayer>& routed_;
  const data::PackSource& source_;
  const OnProgress& on_progress_;
  size_t kinds_;
  int64_t local_heads_;
  std::vector<EvalSums> sums_;  // [tasks, kinds]
  size_t heads_;                // of the model, in all layers
  // [layers, kv_heads]: HeadCounts::skipped; [kinds, layers, kv_heads]: documents with gate 1.
  std::vector<double> skipped_, full_;
  std::optional<KindFeatureSums> features_;
  std::vector<data::Document> documents_;
};

}  // namespace

std::string accuracy_text(const EvalFigures& figures) {
  return figures.accuracy ? fmt::format("{:.3f}", *figures.accuracy) : "-";
}

FigureValue accuracy_json(const EvalFigures& figures) {
  return figures.accuracy ? FigureValue(*figures.accuracy) : FigureValue();
}

FigureValue eval_json(const EvalFigures& figures) {
  FigureValue object = figures_of<EvalFigures>(kEvalFigures, figures);
  for (const auto& [name, field] : mean_figures()) object[std::string(name)] = figures.*field;
  return object;
}

std::vector<FigureText> eval_figures() {
  return texts_of(std::span<const FigureOf<EvalFigures>>(kEvalFigures));
}

EvalResult evaluate(const Config& config, parallel::Mesh& mesh, Device& device,
                    model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                    const data::PackSource& source, const OnProgress& on_progress,
                    const EvalExtras& extras) {
  Evaluator evaluator(config, mesh, device, decoder, routed, source, on_progress, extras);
  evaluator.run();
  EvalResult result = evaluator.result();
  // Sums of all ranks, so that every rank sees the same.
  parallel::on_all_ranks(mesh.world(), [&] {
    if (std::isfinite(result.all.loss)) return;
    throw NumericalError("the loss is not finite", "evaluation",
                         "check the checkpoint and the data, or compute in float32");
  });
  return result;
}

}  // namespace elastron::train
