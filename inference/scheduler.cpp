#include "inference/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "inference/continuation.h"
#include "inference/prompt_summary.h"
#include "inference/shared_scores.h"
#include "ops/elementwise.h"
#include "ops/linear.h"

namespace elastron::inference {

namespace {

// Rows of the prompt whose logits exist at a time.
constexpr int64_t kScoredRows = 64;
// A slab of this many bytes at once, where the cache has a limit.
constexpr int64_t kSlabBytes = int64_t(64) << 20;

PoolOptions pool_options(const Engine& engine, const SchedulerOptions& options) {
  PoolOptions pool{.page_rows = options.page_rows};
  if (options.cache_bytes == 0) return pool;
  const PagePool shape = engine.make_pool(pool);
  pool.most_pages = options.cache_bytes / shape.page().bytes();
  pool.slab_pages = std::max<int64_t>(kSlabBytes / shape.page().bytes(), 1);
  return pool;
}

NumericalError not_a_number() {
  return {"a logit is not a number", "log-probabilities",
          "check the model's weights, or compute in float32"};
}

std::span<const int32_t> prefix_ids(const Request& request) {
  return std::span(request.prompt).first(size_t(request.prefix_tokens));
}

void add_cache(PromptFigures& figures, const SequenceCache& cache, const Engine& engine) {
  figures.cache_bytes = cache.bytes();
  figures.full_cache_bytes = cache.full_bytes();
  if (engine.heads_over() == nullptr) figures.cache_copies = engine.mesh().context().size();
}

// What is wrong with one text's numbers is that text's end.
template <class F>
void or_fail(Event& event, const F& f) {
  try {
    f();
  } catch (const NumericalError&) {
    event.error = std::current_exception();
    event.finish = Finish::failed;
  }
}

}  // namespace

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : engine_(engine),
      options_(options),
      pool_(engine.model().head_dim, engine.dtype(), pool_options(engine, options),
            engine.device()),
      prefixes_(options.prefixes) {
  ELASTRON_CHECK(options.slots >= 1 && options.vocab_size >= 1 &&
                     options.vocab_size <= engine.model().vocab_size,
                 "slots, and ids of the model");
  ELASTRON_CHECK(
      options.tokenizer == nullptr || options.vocab_size <= options.tokenizer->vocab_size(),
      "ids of the tokenizer");
}

int64_t Scheduler::most_cache_bytes(const Engine& engine, const SchedulerOptions& options,
                                    int64_t tokens) {
  const PagePool shape = engine.make_pool({.page_rows = options.page_rows});
  return engine.cache_shape(tokens, options.cache).most_pages(shape) * shape.page().bytes();
}

CacheShape Scheduler::shape_of(const Request& request) const {
  const int64_t tokens =
      int64_t(request.prompt.size()) + std::min(request.max_tokens, engine_.max_position());
  return engine_.cache_shape(std::min(tokens, engine_.max_position()), options_.cache);
}

int64_t Scheduler::submit(Request request) {
  ELASTRON_CHECK(!request.prompt.empty() && request.max_tokens >= 0, "a prompt with tokens");
  ELASTRON_CHECK(request.stops.empty() || options_.tokenizer != nullptr,
                 "stop strings are found in text");
  const auto [least, most] = std::ranges::minmax(request.prompt);
  if (least < 0 || most >= engine_.model().vocab_size) {
    throw UsageError(fmt::format("the prompt has the id {}, and the model's are below {}",
                                 least < 0 ? least : most, engine_.model().vocab_size),
                     "prompt", "use the tokenizer of this model");
  }
  const auto tokens = int64_t(request.prompt.size());
  if (tokens > engine_.max_position()) {
    throw UsageError(fmt::format("the prompt has {} tokens, and the model's positions are {}",
                                 tokens, engine_.max_position()),
                     "prompt", "shorten it");
  }
  if (request.prefix_tokens != 0) {
    if (request.prefix_tokens < 0 || request.prefix_tokens >= tokens) {
      throw UsageError(
          fmt::format("a prefix of {} tokens of a prompt of {}", request.prefix_tokens, tokens),
          "prefix", "something must come behind the prefix");
    }
    if (request.prompt_logprobs) {
      throw UsageError("the tokens of a prompt with a prefix are not scored", "prefix",
                       "leave the prefix out");
    }
  }
  const int64_t pages = pages_of(request, /*with_prefix=*/true);
  if (pages > pool_.free_pages() + pool_.used_pages()) {
    throw UsageError(
        fmt::format(
            "a prompt of {} tokens and up to {} more may need {:.2f} GB of cache, of {:.2f}",
            tokens, request.max_tokens, double(pages * pool_.page().bytes()) * 1e-9,
            double(options_.cache_bytes) * 1e-9),
        "max_tokens", "ask for fewer tokens, or give the cache more memory");
  }
  waiting_.push_back({.number = submitted_, .request = std::move(request)});
  return submitted_++;
}

// Collective where the cache has a limit: a rank whose heads are sparse has more pages left than
// others, and a request is let in by all ranks or by none.
int64_t Scheduler::least_of_ranks(int64_t pages) const {
  int64_t least[] = {pages};
  if (options_.cache_bytes > 0) {
    engine_.mesh().tensor().all_reduce_host(std::span<int64_t>(least), parallel::ReduceOp::min);
    engine_.mesh().context().all_reduce_host(std::span<int64_t>(least), parallel::ReduceOp::min);
  }
  return least[0];
}

CacheShape Scheduler::prefix_shape(const Request& request) const {
  return engine_.cache_shape(request.prefix_tokens, options_.cache);
}

// What must be free before the prompt is read; a prefix that is not there is read first.
int64_t Scheduler::pages_of(const Request& request, bool with_prefix) const {
  const int64_t pages = shape_of(request).most_pages(pool_);
  if (request.prefix_tokens == 0 || !with_prefix) return pages;
  return pages + prefix_shape(request).most_pages(pool_);
}

// Prefixes that nobody asks for now make way, if that is enough. The same on all ranks.
bool Scheduler::make_room(const Request& request) {
  const auto kept = request.prefix_tokens > 0 ? prefixes_.find(prefix_ids(request)) : nullptr;
  const int64_t pages = pages_of(request, kept == nullptr);
  const int64_t others = prefixes_.pages() - (kept != nullptr ? kept->cache.pages() : 0);
  if (pages > least_of_ranks(pool_.free_pages() + others)) return false;
  while (pages > least_of_ranks(pool_.free_pages())) prefixes_.drop_oldest(kept.get());
  return true;
}

void Scheduler::cancel(int64_t request) {
  std::erase_if(waiting_, [&](const Text& text) { return text.number == request; });
  if (std::erase_if(running_, [&](const auto& text) { return text->number == request; }) > 0) {
    placed_ = false;
  }
}

std::vector<Event> Scheduler::step() {
  std::vector<Event> events;
  const bool others_wait = !running_.empty();
  if (others_wait) decode(events);
  while (!waiting_.empty() && running() < options_.slots && make_room(waiting_.front().request)) {
    auto text = std::make_unique<Text>(std::move(waiting_.front()));
    waiting_.pop_front();
    events.push_back(let_in(*text));
    if (!events.back().finish) {
      running_.push_back(std::move(text));
      placed_ = false;
    }
    if (others_wait) break;
  }
  ELASTRON_CHECK(!running_.empty() || pool_.used_pages() == prefix_pages(),
                 "pages of texts that have ended");
  place();  // now, so that a step that only decodes has nothing to send but its tokens
  return events;
}

Event Scheduler::let_in(Text& text) {
  try {
    return read_prompt(text);
  } catch (const UsageError&) {
    if (engine_.mesh().tensor().size() * engine_.mesh().context().size() > 1) throw;
    return {.request = text.number, .finish = Finish::failed, .error = std::current_exception()};
  }
}

Event Scheduler::read_prompt(Text& text) {
  const Request& request = text.request;
  text.cache = std::make_unique<SequenceCache>(shape_of(request), pool_);
  if (options_.tokenizer != nullptr) {
    text.stream =
        std::make_unique<TextStream>(*options_.tokenizer, request.stops, request.skip_controls);
  }
  auto figures = std::make_shared<PromptFigures>();
  Event event{.request = text.number, .prompt = figures};
  or_fail(event, [&] {
    const Tensor last =
        request.prefix_tokens > 0 ? read_behind_prefix(text, *figures) : read_whole(text, *figures);
    if (request.max_tokens == 0) {
      event.finish = Finish::length;
    } else {
      go_on(text, last.to_vector<float>(), event);
    }
  });
  return event;
}

Tensor Scheduler::read_whole(Text& text, PromptFigures& figures) const {
  const Request& request = text.request;
  model::RoutedHeads heads;
  const HiddenRows hidden = engine_.forward(request.prompt, &heads, text.cache.get());
  figures = figures_of(engine_, heads, int64_t(request.prompt.size()));
  add_cache(figures, *text.cache, engine_);
  return score_prompt(hidden, request, figures);
}

Tensor Scheduler::read_behind_prefix(Text& text, PromptFigures& figures) {
  const Request& request = text.request;
  const bool kept = prefixes_.find(prefix_ids(request)) != nullptr;
  const auto prefix = prefix_of(request);
  text.cache->continue_from(prefix->cache);
  const Tensor last = read_behind(engine_, *text.cache, pool_,
                                  std::span(request.prompt).subspan(size_t(request.prefix_tokens)),
                                  request.prefix_tokens);
  figures = prefix->figures;
  figures.tokens = int64_t(request.prompt.size());
  figures.prefix_tokens_kept = kept ? request.prefix_tokens : 0;
  add_cache(figures, *text.cache, engine_);
  return logits_of(last);
}

std::shared_ptr<Prefix> Scheduler::prefix_of(const Request& request) {
  const auto ids = prefix_ids(request);
  if (auto kept = prefixes_.find(ids)) return kept;
  auto prefix = std::make_shared<Prefix>(ids, prefix_shape(request), pool_);
  model::RoutedHeads heads;
  engine_.forward(ids, &heads, &prefix->cache);
  prefix->figures = figures_of(engine_, heads, request.prefix_tokens);
  prefixes_.add(prefix);
  return prefix;
}

Tensor Scheduler::logits_of(const Tensor& hidden) const {
  Tensor logits = ops::cast(engine_.logits(hidden), DType::f32);
  engine_.agree_on(logits);
  return logits;
}

// -> the logits of what follows the prompt, [1, vocab] float32
Tensor Scheduler::score_prompt(const HiddenRows& hidden, const Request& request,
                               PromptFigures& figures) const {
  const int64_t rows = hidden.count();
  if (request.prompt_logprobs) {
    // Ranks of a context group take rows in turns.
    parallel::Communicator& ranks = engine_.mesh().context();
    const int64_t at_a_time = kScoredRows * ranks.size();
    figures.scored.push_back({.id = request.prompt.front()});
    for (int64_t begin = 0; begin < rows - 1; begin += at_a_time) {
      const int64_t end = std::min(begin + at_a_time, rows - 1);
      const Tensor all = hidden.rows(begin, end);
      const int64_t own = std::min(begin + kScoredRows * ranks.rank(), end);
      const int64_t own_end = std::min(own + kScoredRows, end);
      std::vector<ScoredToken> scores;
      if (own < own_end) {
        const Tensor some = all.slice(0, own - begin, own_end - begin).clone();
        scores = scored_rows(ops::cast(engine_.logits(some), DType::f32),
                             std::span(request.prompt).subspan(size_t(own) + 1),
                             request.top_logprobs.value_or(0));
      }
      for (ScoredToken& token : scores_of_ranks(scores, ranks)) {
        // Here all ranks know of it.
        if (std::isnan(*token.logprob)) throw not_a_number();
        figures.scored.push_back(std::move(token));
      }
    }
  }
  return logits_of(hidden.rows(rows - 1, rows));
}

// Of logits [rows, vocab] and what comes behind each row; a log-probability is not a number where a
// logit is not.
std::vector<ScoredToken> Scheduler::scored_rows(const Tensor& logits, std::span<const int32_t> ids,
                                                int top) const {
  const auto values = logits.to_vector<float>();
  const auto vocab = size_t(engine_.model().vocab_size);
  std::vector<ScoredToken> scores;
  for (size_t r = 0; r < size_t(logits.size(0)); ++r) {
    try {
      scores.push_back(scored(std::span(values).subspan(r * vocab, vocab), ids[r], top));
    } catch (const NumericalError&) {
      scores.push_back({.id = ids[r], .logprob = std::numeric_limits<double>::quiet_NaN()});
    }
  }
  return scores;
}

ScoredToken Scheduler::scored(std::span<const float> logits, int32_t id,
                              std::optional<int> top) const {
  ScoredToken token{.id = id};
  if (!top) return token;
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(double(x) - largest);
  const double log_sum = largest + std::log(sum);
  if (!std::isfinite(log_sum)) throw not_a_number();
  token.logprob = double(logits[size_t(id)]) - log_sum;
  std::vector<int32_t> order(size_t(options_.vocab_size));
  std::iota(order.begin(), order.end(), 0);
  const auto n = std::min<size_t>(size_t(std::max(*top, 0)), order.size());
  std::ranges::partial_sort(order, order.begin() + std::ptrdiff_t(n), [&](int32_t a, int32_t b) {
    const float x = logits[size_t(a)], y = logits[size_t(b)];
    return x > y || (x == y && a < b);
  });
  for (size_t i = 0; i < n; ++i) {
    token.top.emplace_back(order[i], double(logits[size_t(order[i])]) - log_sum);
  }
  return token;
}

// The logits as they are, but for ids that end the text, which cannot come.
std::vector<float> Scheduler::without_ends(std::span<const float> logits,
                                           const Request& request) const {
  std::vector<float> values(logits.begin(), logits.end());
  const auto remove = [&](const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) {
      if (id >= 0 && size_t(id) < values.size()) {
        values[size_t(id)] = -std::numeric_limits<float>::infinity();
      }
    }
  };
  if (!request.ignore_eos) remove(engine_.model().stop_token_ids);
  remove(request.stop_ids);
  return values;
}

void Scheduler::go_on(Text& text, std::span<const float> logits, Event& event) const {
  const Request& request = text.request;
  const auto candidates = logits.first(size_t(options_.vocab_size));
  const bool too_early = int64_t(text.generated.size()) < request.min_tokens;
  const int32_t id =
      next_token(too_early ? std::span<const float>(without_ends(candidates, request)) : candidates,
                 request.sampling, text.length());
  const auto among = [&](const std::vector<int32_t>& ids) {
    return std::ranges::find(ids, id) != ids.end();
  };
  if ((!request.ignore_eos && among(engine_.model().stop_token_ids)) || among(request.stop_ids)) {
    if (text.stream != nullptr) event.text = text.stream->finish();
    event.end = scored(logits, id, request.top_logprobs);
    event.finish = Finish::stop;
    return;
  }
  event.token = scored(logits, id, request.top_logprobs);
  text.generated.push_back(id);
  if (int64_t(text.generated.size()) == request.max_tokens ||
      text.length() == text.cache->shape().most_tokens) {
    event.finish = Finish::length;
  }
  if (text.stream == nullptr) return;
  event.text = text.stream->add(id);
  if (event.finish) event.text += text.stream->finish();
  if (text.stream->stopped()) event.finish = Finish::stop;
}

// On a GPU, which is shown a batch once and whose products may round by their number of rows, the
// batch has all slots, whoever has them. A CPU's gives each row what it gets alone, up to a number.
void Scheduler::place() {
  if (placed_) return;
  const bool records = engine_.device().behaves_as() == DeviceKind::cuda;
  const int64_t most = records ? options_.slots : ops::kRowsAlike;
  if (!records) batches_.clear();
  for (int64_t first = 0; first < running(); first += most) {
    const int64_t n = std::min(most, running() - first);
    if (!records || batches_.empty()) {
      batches_.push_back(std::make_unique<Batch>(engine_, running_.front()->cache->shape().kv_heads,
                                                 records ? most : n, pool_));
    }
    Batch& batch = *batches_.back();
    batch.first = first;
    for (int64_t slot = 0; slot < batch.caches.slots(); ++slot) {
      batch.caches.place(slot, slot < n ? running_[size_t(first + slot)]->cache.get() : nullptr);
    }
    batch.caches.send();
  }
  placed_ = true;
}

void Scheduler::decode(std::vector<Event>& events) {
  place();
  for (const auto& batch : batches_) decode(*batch, events);
  // Events are those of running_ so far.
  for (size_t i = running_.size(); i-- > 0;) {
    if (!events[i].finish) continue;
    running_.erase(running_.begin() + std::ptrdiff_t(i));
    placed_ = false;
  }
}

void Scheduler::decode(Batch& batch, std::vector<Event>& events) {
  const int64_t slots = batch.caches.slots(), texts = std::min(slots, running() - batch.first);
  std::vector<Decoding::Next> next(static_cast<size_t>(slots));
  int64_t to_come = 0;
  for (int64_t i = 0; i < texts; ++i) {
    const Text& text = *running_[size_t(batch.first + i)];
    next[size_t(i)] = {text.generated.back(), int32_t(text.length() - 1)};
    to_come = std::max(to_come, text.request.max_tokens - int64_t(text.generated.size()));
  }
  const auto logits = batch.decoding.logits(next, texts, to_come);
  const auto vocab = size_t(engine_.model().vocab_size);
  for (int64_t i = 0; i < texts; ++i) {
    Text& text = *running_[size_t(batch.first + i)];
    Event& event = events.emplace_back(Event{.request = text.number});
    or_fail(event, [&] { go_on(text, logits.subspan(size_t(i) * vocab, vocab), event); });
  }
}

}  // namespace elastron::inference
