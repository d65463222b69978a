// Many requests on one engine: prompts are read one after the other, and the tokens of all texts
// under way are decoded in one batch. A request is let in when the pages that it may need at the
// most are free, in the order of their coming; pages that its sparse heads do not need are free
// again once its prompt is read. What a request brings does not depend on those beside it
// (docs/method.md, Decoding).
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "inference/decoding.h"
#include "inference/prefix_store.h"
#include "inference/request.h"
#include "inference/text_stream.h"

namespace elastron::inference {

struct SchedulerOptions {
  int64_t slots = 1;        // texts that are decoded at the same time, at the most
  int64_t cache_bytes = 0;  // of all caches of this rank; 0: as the device has
  int64_t page_rows = 64;
  CacheOptions cache;
  int64_t prefixes =
      0;  // that are kept for requests to come, at the most, while nobody needs the room
  int64_t vocab_size = 0;  // ids below it may be generated: a model's vocabulary is often padded
  // For texts and Request::stops; it has vocab_size ids or more, and must outlive the scheduler.
  const data::Tokenizer* tokenizer = nullptr;
};

class Scheduler {
 public:
  // The engine must outlive it.
  Scheduler(Engine& engine, const SchedulerOptions& options);

  // Bytes of cache that a text of so many tokens may need at the most: whether it can ever be let in.
  static int64_t most_cache_bytes(const Engine& engine, const SchedulerOptions& options,
                                  int64_t tokens);

  // Ranks of a tensor group and of a context group submit, cancel and step alike.
  // -> the request's number, in the order of their coming from 0. Throws UsageError for one that can
  // never be let in, or has ids that the model lacks.
  int64_t submit(Request request);
  // Forgets the request; without an event. Not to be called in step().
  void cancel(int64_t request);

  // Collective over both groups, on each rank of which the result is the same but for
  // PromptFigures. Decodes a token of each text under way, and lets in what there is room for: one
  // request at a time where others wait for their next token. Events come in the order of the
  // requests, those that were let in at the end. A request that the device has no memory for fails;
  // over several ranks, of which the others would wait for this one, that is thrown (UsageError).
  std::vector<Event> step();

  bool idle() const { return waiting_.empty() && running_.empty(); }
  int64_t waiting() const { return int64_t(waiting_.size()); }
  int64_t running() const { return int64_t(running_.size()); }
  const PagePool& pool() const { return pool_; }
  int64_t prefix_pages() const { return prefixes_.pages(); }

 private:
  struct Text {
    int64_t number = 0;
    Request request;
    std::unique_ptr<SequenceCache> cache;
    std::unique_ptr<TextStream> stream;  // where there is a tokenizer
    std::vector<int32_t> generated;

    int64_t length() const { return int64_t(request.prompt.size() + generated.size()); }
  };
  // Texts [first, first + slots) of those under way.
  struct Batch {
    Batch(Engine& engine, int64_t kv_heads, int64_t slots, PagePool& pool)
        : caches(engine.model().num_layers, kv_heads, slots, pool, engine.heads_over()),
          decoding(engine, caches) {}
    int64_t first = 0;
    CacheBatch caches;
    Decoding decoding;
  };

  CacheShape shape_of(const Request& request) const;
  int64_t least_of_ranks(int64_t pages) const;
  CacheShape prefix_shape(const Request& request) const;
  int64_t pages_of(const Request& request, bool with_prefix) const;
  bool make_room(const Request& request);
  Event let_in(Text& text);
  Event read_prompt(Text& text);
  // The prompt into the text's cache. -> the logits of what follows it, [1, vocab] float32
  Tensor read_whole(Text& text, PromptFigures& figures) const;
  Tensor read_behind_prefix(Text& text, PromptFigures& figures);
  std::shared_ptr<Prefix> prefix_of(const Request& request);
  Tensor logits_of(const Tensor& hidden) const;
  Tensor score_prompt(const HiddenRows& hidden, const Request& request,
                      PromptFigures& figures) const;
  std::vector<ScoredToken> scored_rows(const Tensor& logits, std::span<const int32_t> ids,
                                       int top) const;
  void decode(std::vector<Event>& events);
  void decode(Batch& batch, std::vector<Event>& events);
  void place();
  std::vector<float> without_ends(std::span<const float> logits, const Request& request) const;
  // The text goes on by what `logits` say: its token, or its end.
  void go_on(Text& text, std::span<const float> logits, Event& event) const;
  ScoredToken scored(std::span<const float> logits, int32_t id, std::optional<int> top) const;

  Engine& engine_;
  SchedulerOptions options_;
  PagePool pool_;
  PrefixStore prefixes_;
  int64_t submitted_ = 0;
  std::deque<Text> waiting_;
  std::vector<std::unique_ptr<Text>> running_;  // in the order of their coming
  std::vector<std::unique_ptr<Batch>> batches_;
  bool placed_ = false;  // the batches' slots are those of running_
};

}  // namespace elastron::inference
