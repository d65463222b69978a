#include "train/evaluate/head_scores.h"

#include <algorithm>
#include <array>
#include <map>

#include "model/router_batch.h"
#include "ops/attention_argmax.h"
#include "ops/elementwise.h"
#include "train/step/step.h"

namespace elastron::train {

namespace {

// A needle of a batch: its answer's tokens are rows [first_row, first_row + places.size()).
struct Needle {
  int64_t first_row = 0;
  std::vector<std::vector<int32_t>> places;  // in tokens of the batch
  std::vector<int64_t> copied;               // [layers * query heads]
};

// Sums over needles. Counts by the answer's length are whole numbers: the same in any order.
struct Tally {
  std::array<int64_t, 4> documents{};  // all, not found, not answered, needles
  std::map<int64_t, std::vector<int64_t>> copied;
};

class CopyCounter final : public model::AttentionObserver {
 public:
  CopyCounter(std::vector<Needle>& needles, std::vector<ops::QueryRow> rows, int64_t q_heads,
              int64_t first_q_head)
      : needles_(needles), rows_(std::move(rows)), q_heads_(q_heads), first_(first_q_head) {}

  void see(int64_t layer, const Tensor& q, const Tensor& k) override {
    const auto strongest = ops::attention_argmax(q, k, rows_).to_vector<int32_t>();
    const int64_t own = q.size(1);
    size_t row = 0;
    for (Needle& needle : needles_) {
      int64_t* copied = &needle.copied[size_t(layer * q_heads_ + first_)];
      for (const auto& places : needle.places) {
        for (int64_t h = 0; h < own; ++h) {
          copied[h] += std::ranges::binary_search(places, strongest[row * size_t(own) + size_t(h)]);
        }
        ++row;
      }
    }
  }

 private:
  std::vector<Needle>& needles_;
  std::vector<ops::QueryRow> rows_;  // of all needles, in their order
  int64_t q_heads_, first_;
};

// Whether each row's first choice is its target. On every rank of the tensor group.
bool answers(model::Decoder& decoder, const Tensor& hidden, const data::PackedBatch& batch,
             const Needle& needle) {
  constexpr int64_t kRows = 64;
  const int64_t end = needle.first_row + int64_t(needle.places.size());
  for (int64_t begin = needle.first_row; begin < end; begin += kRows) {
    const int64_t rows = std::min(kRows, end - begin);
    const auto logits = ops::cast(decoder.logits(hidden.slice(0, begin, begin + rows)), DType::f32);
    const auto values = logits.to_vector<float>();
    const int64_t vocab = logits.size(1);
    for (int64_t r = 0; r < rows; ++r) {
      const auto row = values.begin() + std::ptrdiff_t(r * vocab);
      const auto choice = std::max_element(row, row + std::ptrdiff_t(vocab)) - row;
      if (choice != batch.token_ids[size_t(begin + r + 1)]) return false;
    }
  }
  return true;
}

class Scoring {
 public:
  Scoring(const Config& config, parallel::Mesh& mesh, Device& device, model::Decoder& decoder,
          std::vector<router::RoutedLayer>& routed, const data::Tokenizer& tokenizer,
          const HeadScoreOptions& options)
      : config_(config),
        mesh_(mesh),
        device_(device),
        decoder_(decoder),
        routed_(routed),
        tokenizer_(tokenizer),
        options_(options) {}

  void add(const std::vector<data::Document>& documents) {
    const model::ModelConfig& m = decoder_.config();
    std::vector<Needle> needles;
    std::vector<ops::QueryRow> rows;
    std::vector<const data::Document*> pointers;
    int32_t begin = 0;
    for (const data::Document& d : documents) {
      pointers.push_back(&d);
      ++tally_.documents[0];
      auto places = needle_places(d, tokenizer_, options_.after);
      if (places.empty()) {
        ++tally_.documents[1];
      } else {
        for (auto& of_token : places) {
          for (int32_t& place : of_token) place += begin;
        }
        // A token is predicted from the position before it.
        const int64_t first_row = begin + d.user_length + d.answer_offset - 1;
        for (size_t j = 0; j < places.size(); ++j) {
          rows.push_back({.query = int32_t(first_row + int64_t(j)), .first_key = begin});
        }
        needles.push_back({first_row, std::move(places),
                           std::vector<int64_t>(size_t(m.num_layers * m.q_heads), 0)});
      }
      begin += int32_t(d.length());
    }
    if (needles.empty()) return;
    const data::PackedBatch batch = data::make_packed_batch(pointers);
    const int64_t own = m.q_heads / mesh_.tensor().size();
    CopyCounter counter(needles, std::move(rows), m.q_heads, own * mesh_.tensor().rank());
    const Tensor hidden =
        decoder_.forward(model::DeviceBatch::make(batch, device_),
                         model::make_router_batch(batch, config_.router, 0, 1.0, /*sample=*/false),
                         routed_, {.observer = &counter});
    for (const Needle& needle : needles) {
      if (options_.answered_only && !answers(decoder_, hidden, batch, needle)) {
        ++tally_.documents[2];
        continue;
      }
      ++tally_.documents[3];
      auto& sums = tally_.copied[int64_t(needle.places.size())];
      sums.resize(needle.copied.size());
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += needle.copied[i];
    }
  }

  HeadScoreResult result() {
    using parallel::ReduceOp;
    // The tensor group's ranks saw the same documents.
    mesh_.data().all_reduce_host(std::span<int64_t>(tally_.documents), ReduceOp::sum);
    HeadScoreResult result{.documents = tally_.documents[0],
                           .not_found = tally_.documents[1],
                           .not_answered = tally_.documents[2],
                           .needles = tally_.documents[3]};
    if (result.needles == 0) return result;
    const model::ModelConfig& m = decoder_.config();
    int64_t longest[] = {tally_.copied.empty() ? 0 : tally_.copied.rbegin()->first};
    mesh_.world().all_reduce_host(std::span<int64_t>(longest), ReduceOp::max);
    const auto heads = size_t(m.num_layers * m.q_heads);
    std::vector<double> scores(heads, 0.0);
    for (int64_t length = 1; length <= longest[0]; ++length) {
      auto& sums = tally_.copied[length];
      sums.resize(heads);
      mesh_.world().all_reduce_host(std::span<int64_t>(sums), ReduceOp::sum);
      for (size_t i = 0; i < heads; ++i) scores[i] += double(sums[i]) / double(length);
    }
    const auto group = size_t(m.q_heads / m.kv_heads);
    for (auto next = scores.begin(); next != scores.end();) {
      auto& layer = result.scores.emplace_back();
      auto& kv_layer = result.kv_scores.emplace_back();
      for (int64_t h = 0; h < m.kv_heads; ++h) {
        double sum = 0;
        for (size_t g = 0; g < group; ++g) {
          layer.push_back(*next++ / double(result.needles));
          sum += layer.back();
        }
        kv_layer.push_back(sum / double(group));
      }
    }
    return result;
  }

 private:
  const Config& config_;
  parallel::Mesh& mesh_;
  Device& device_;
  model::Decoder& decoder_;
  std::vector<router::RoutedLayer>& routed_;
  const data::Tokenizer& tokenizer_;
  HeadScoreOptions options_;
  Tally tally_;
};

}  // namespace

std::vector<std::vector<int32_t>> needle_places(const data::Document& document,
                                                const data::Tokenizer& tokenizer, int64_t after) {
  const auto first = document.ids.begin() + document.user_length + document.answer_offset;
  const std::vector<int32_t> answer(first, first + document.answer_length);
  std::vector<std::vector<int32_t>> places(answer.size());
  if (answer.empty()) return {};
  // Inside a text the first word's token is often another one: that with the blank.
  std::vector<std::vector<int32_t>> forms = {answer};
  const auto after_blank = tokenizer.encode(" " + tokenizer.decode(answer));
  if (after_blank.size() == answer.size() && after_blank != answer) forms.push_back(after_blank);

  bool found = false;
  const auto end = document.ids.begin() + document.user_length;
  for (const auto& form : forms) {
    auto at = document.ids.begin();
    while ((at = std::search(at, end, form.begin(), form.end())) != end) {
      found = true;
      const auto begin = int32_t(at - document.ids.begin());
      for (size_t j = 0; j < answer.size(); ++j) {
        for (size_t i = 0; i < answer.size(); ++i) {
          if (answer[i] != answer[j]) continue;
          const auto place = begin + int32_t(i);
          for (int32_t p = place; p <= place + after && p < document.user_length; ++p) {
            places[j].push_back(p);
          }
        }
      }
      ++at;
    }
  }
  if (!found) return {};
  for (auto& of_token : places) {
    std::ranges::sort(of_token);
    of_token.erase(std::ranges::unique(of_token).begin(), of_token.end());
  }
  return places;
}

HeadScoreResult score_heads(const Config& config, parallel::Mesh& mesh, Device& device,
                            model::Decoder& decoder, std::vector<router::RoutedLayer>& routed,
                            const data::PackSource& source, const data::Tokenizer& tokenizer,
                            const HeadScoreOptions& options, const OnProgress& on_progress) {
  Scoring scoring(config, mesh, device, decoder, routed, tokenizer, options);
  const int64_t ranks = mesh.data().size();
  for (int64_t p = mesh.data().rank(); p < source.packs(); p += ranks) {
    on_progress(uint64_t(p), uint64_t(source.packs()));
    scoring.add(source.pack(p));
  }
  return scoring.result();
}

}  // namespace elastron::train
