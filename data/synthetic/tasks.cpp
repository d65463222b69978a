#include "data/synthetic/tasks.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/philox.h"

namespace elastron::data {

namespace {

constexpr int kNoise = 32;     // words without meaning
constexpr int kValues = 32;    // answers of the sensitive kinds
constexpr int kKeys = 32;      // names that values are bound to
constexpr int kSequence = 16;  // successor words of `continuation`, cyclic
constexpr int kSymbols = 16;   // elements of `pattern`
constexpr int kTopics = 8;     // of `gist`, with kTopicWords words each
constexpr int kTopicWords = 4;
constexpr int kHops = 4;            // assignments that `hops` follows
constexpr int kMostTimes = 8;       // that the mark of `count` stands in the context
constexpr int64_t kSinkWords = 32;  // words at the start without facts

struct KindEntry {
  SyntheticKind kind;
  std::string_view name, task;
  bool sensitive;
};
constexpr std::array<KindEntry, kSyntheticKinds> kKinds = {{
    {SyntheticKind::needle, "needle", "Single QA", true},
    {SyntheticKind::recall, "recall", "Single QA", true},
    {SyntheticKind::trace, "trace", "MultiHop QA", true},
    {SyntheticKind::gist, "gist", "Summarization", false},
    {SyntheticKind::continuation, "continuation", "Code", false},
    {SyntheticKind::pattern, "pattern", "In-Context Learning", false},
    {SyntheticKind::repeat, "repeat", "Single QA", true},
    {SyntheticKind::hops, "hops", "MultiHop QA", true},
    {SyntheticKind::count, "count", "Single QA", true},
}};

const KindEntry& entry(SyntheticKind kind) { return kKinds[size_t(kind)]; }

// The fixed phrases; their words belong to the vocabulary too.
constexpr std::array<std::string_view, 20> kGrammar = {
    "find",  "the",   "secret", "is",     "lookup", "key",    "holds", "follow", "variable", "gets",
    "topic", "about", "next",   "series", "rule",   "answer", "copy",  "again",  "pattern",  "."};
// Those of the harder kinds stand behind everything else, so that older ids stay.
constexpr std::array<std::string_view, 3> kHarderGrammar = {"path", "count", "mark"};

std::string word(std::string_view stem, uint32_t i) {
  return std::string(stem) + std::to_string(i);
}

using Words = std::vector<std::string>;

class Writer {
 public:
  explicit Writer(const RandomStream& stream) : random_(stream) {}

  uint32_t below(int64_t n) { return random_.next_below(uint32_t(std::max<int64_t>(n, 1))); }
  // A word of no importance. One in sixteen is a value nobody asks for, so that a fact cannot be
  // told by the class of its words alone.
  std::string noise() { return below(16) == 0 ? word("v", below(kValues)) : plain_noise(); }
  std::string plain_noise() { return word("n", below(kNoise)); }
  // `count` different numbers below n.
  std::vector<uint32_t> distinct(int64_t count, int64_t n) {
    std::vector<uint32_t> all(static_cast<size_t>(n));
    for (uint32_t i = 0; i < all.size(); ++i) all[i] = i;
    for (int64_t i = 0; i < count; ++i) std::swap(all[size_t(i)], all[size_t(i) + below(n - i)]);
    all.resize(size_t(count));
    return all;
  }
  template <class T>
  void shuffle(std::vector<T>& all) {
    for (size_t i = 0; i + 1 < all.size(); ++i) {
      std::swap(all[i], all[i + below(int64_t(all.size() - i))]);
    }
  }
  Words noise_words(int64_t count) {
    Words words;
    for (int64_t i = 0; i < count; ++i) words.push_back(noise());
    return words;
  }

 private:
  RandomStream random_;
};

std::string join(const Words& words) {
  std::string text;
  for (const std::string& w : words) {
    if (!text.empty()) text += ' ';
    text += w;
  }
  return text;
}

// Facts spread over a context of noise: none in the first words (sinks, which every head sees) and
// none in the last `clearance` words.
Words scatter(Writer& writer, const std::vector<Words>& facts, int64_t length, int64_t clearance) {
  int64_t fact_words = 0;
  for (const Words& f : facts) fact_words += int64_t(f.size());
  const int64_t noise = std::max<int64_t>(length - fact_words, 0);
  const int64_t head = std::min<int64_t>(kSinkWords, noise / 4);
  const int64_t tail = std::min(clearance, (noise - head) * 2 / 3);
  const int64_t middle = noise - head - tail;
  // Gaps between facts: sorted random cuts of the middle noise.
  std::vector<int64_t> cuts;
  for (size_t i = 0; i < facts.size(); ++i) cuts.push_back(int64_t(writer.below(middle + 1)));
  std::ranges::sort(cuts);
  Words words = writer.noise_words(head);
  int64_t written = 0;
  for (size_t i = 0; i < facts.size(); ++i) {
    for (; written < cuts[i]; ++written) words.push_back(writer.noise());
    words.insert(words.end(), facts[i].begin(), facts[i].end());
  }
  for (; written < middle + tail; ++written) words.push_back(writer.noise());
  return words;
}

struct Parts {
  Words context, question, answer;
};

Parts make_needle(Writer& w, int64_t length, int64_t clearance) {
  const std::string value = word("v", w.below(kValues));
  Parts p;
  p.question = {"find", "the", "secret"};
  p.answer = {value};
  p.context = scatter(w, {{"secret", value, "."}}, length - 4, clearance);
  return p;
}

Parts make_recall(Writer& w, int64_t length, int64_t clearance) {
  const int64_t pairs = 4 + int64_t(w.below(5));
  const auto keys = w.distinct(pairs, kKeys);
  std::vector<uint32_t> values;
  std::vector<Words> facts;
  for (const uint32_t key : keys) {
    values.push_back(w.below(kValues));
    facts.push_back({word("k", key), word("v", values.back()), "."});
  }
  const uint32_t asked = w.below(pairs);
  Parts p;
  p.question = {"lookup", "key", word("k", keys[asked])};
  p.answer = {word("v", values[asked])};
  p.context = scatter(w, facts, length - 4, clearance);
  return p;
}

// "ka gets kb" and "kb v": the answer names the intermediate variable, then its value.
Parts make_trace(Writer& w, int64_t length, int64_t clearance) {
  const int64_t chains = 2 + int64_t(w.below(2));
  const auto names = w.distinct(2 * chains, kKeys);
  std::vector<Words> facts;
  std::vector<uint32_t> values;
  for (int64_t c = 0; c < chains; ++c) {
    values.push_back(w.below(kValues));
    const std::string first = word("k", names[size_t(2 * c)]);
    const std::string second = word("k", names[size_t(2 * c + 1)]);
    facts.push_back({first, second, "."});
    facts.push_back({second, word("v", values.back()), "."});
  }
  w.shuffle(facts);
  const auto asked = size_t(w.below(chains));
  Parts p;
  p.question = {"follow", "variable", word("k", names[2 * asked])};
  p.answer = {word("k", names[2 * asked + 1]), word("v", values[asked])};
  p.context = scatter(w, facts, length - 5, clearance);
  return p;
}

Parts make_gist(Writer& w, int64_t length, int64_t) {
  const uint32_t topic = w.below(kTopics);
  Parts p;
  p.question = {"topic", "about", "."};
  p.answer = {word("topic", topic)};
  for (int64_t i = 0; i < length - 4; ++i) {
    // Half noise, the rest mostly of the topic: clear in any window of a few dozen words.
    const uint32_t dice = w.below(8);
    if (dice < 4) {
      p.context.push_back(w.plain_noise());
    } else {
      const uint32_t t = dice < 7 ? topic : w.below(kTopics);
      p.context.push_back(word("t", t * kTopicWords + w.below(kTopicWords)));
    }
  }
  return p;
}

Parts make_continuation(Writer& w, int64_t length, int64_t) {
  uint32_t at = w.below(kSequence);
  const auto next = [&] {
    const std::string s = word("s", at);
    at = (at + 1) % kSequence;
    return s;
  };
  Parts p;
  constexpr int64_t kAnswer = 4, kSteady = 8;
  const int64_t words = length - kAnswer - 3;
  for (int64_t i = 0; i < words; ++i) {
    // Now and then the series goes on from elsewhere, so that documents differ; not near the end.
    if (i < words - kSteady && w.below(16) == 0) at = w.below(kSequence);
    p.context.push_back(next());
  }
  // The last word of the series is repeated, so that the rule applies to the last token.
  p.question = {"next", "series", p.context.empty() ? word("s", at) : p.context.back()};
  for (int64_t i = 0; i < kAnswer; ++i) p.answer.push_back(next());
  return p;
}

Parts make_pattern(Writer& w, int64_t length, int64_t) {
  const int64_t period = 3 + int64_t(w.below(4));
  const auto symbols = w.distinct(period, kSymbols);
  Parts p;
  constexpr int64_t kAnswer = 4;
  int64_t i = 0;
  for (; i < length - kAnswer - 3; ++i) {
    p.context.push_back(word("p", symbols[size_t(i % period)]));
  }
  p.question = {"rule", "pattern", p.context.empty() ? word("p", symbols[0]) : p.context.back()};
  for (int64_t k = 0; k < kAnswer; ++k)
    p.answer.push_back(word("p", symbols[size_t((i + k) % period)]));
  return p;
}

// "ka kb", "kb kc", "kc kd", "kd v": the answer names every variable on the way, then the value.
Parts make_hops(Writer& w, int64_t length, int64_t clearance) {
  constexpr int kChains = 2;
  const auto names = w.distinct(kChains * kHops, kKeys);
  std::vector<Words> facts;
  std::vector<Words> answers;
  for (int c = 0; c < kChains; ++c) {
    Words& answer = answers.emplace_back();
    for (int hop = 1; hop < kHops; ++hop) {
      answer.push_back(word("k", names[size_t(c * kHops + hop)]));
    }
    answer.push_back(word("v", w.below(kValues)));
    for (int hop = 0; hop < kHops; ++hop) {
      facts.push_back({word("k", names[size_t(c * kHops + hop)]), answer[size_t(hop)], "."});
    }
  }
  w.shuffle(facts);
  const auto asked = size_t(w.below(kChains));
  Parts p;
  p.question = {"follow", "path", word("k", names[asked * kHops])};
  p.answer = answers[asked];
  p.context = scatter(w, facts, length - 3 - kHops, clearance);
  return p;
}

Parts make_count(Writer& w, int64_t length, int64_t clearance) {
  const uint32_t times = 1 + w.below(kMostTimes);
  Parts p;
  p.question = {"count", "the", "mark"};
  p.answer = {word("times", times)};
  p.context = scatter(w, std::vector<Words>(times, {"mark"}), length - 4, clearance);
  return p;
}

// Segments of words that occur once in the context, scattered over noise, and then again and again
// in changing order: after each first word the rest can only be copied, from any distance.
Parts make_repeat(Writer& w, int64_t length, int64_t) {
  Words words;
  for (const auto& [stem, count] : {std::pair{"v", kValues},
                                    {"k", kKeys},
                                    {"p", kSymbols},
                                    {"s", kSequence},
                                    {"t", kTopics * kTopicWords}}) {
    for (int i = 0; i < count; ++i) words.push_back(word(stem, uint32_t(i)));
  }
  const int64_t answer = length / 2;
  const int64_t copied = std::min<int64_t>(length / 12 + w.below(length / 4), 96);
  std::vector<Words> segments;
  const auto order = w.distinct(copied, int64_t(words.size()));
  for (int64_t i = 0; i < copied;) {
    const int64_t size = std::min<int64_t>(2 + w.below(11), copied - i);
    Words& segment = segments.emplace_back();
    for (int64_t j = 0; j < size; ++j) segment.push_back(words[order[size_t(i + j)]]);
    i += size;
  }
  Parts p;
  const int64_t gaps = length - 3 - answer - copied;
  std::vector<int64_t> cuts;
  for (size_t i = 0; i < segments.size(); ++i) cuts.push_back(int64_t(w.below(gaps + 1)));
  std::ranges::sort(cuts);
  int64_t written = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    for (; written < cuts[i]; ++written) p.context.push_back(w.plain_noise());
    p.context.insert(p.context.end(), segments[i].begin(), segments[i].end());
  }
  for (; written < gaps; ++written) p.context.push_back(w.plain_noise());
  while (int64_t(p.answer.size()) <= answer) {
    for (const uint32_t i : w.distinct(int64_t(segments.size()), int64_t(segments.size()))) {
      p.answer.insert(p.answer.end(), segments[i].begin(), segments[i].end());
    }
  }
  p.answer.resize(size_t(answer + 1));
  p.question = {"copy", "again", p.answer.front()};
  p.answer.erase(p.answer.begin());
  return p;
}

}  // namespace

std::string_view synthetic_kind_name(SyntheticKind kind) { return entry(kind).name; }
std::string_view synthetic_kind_task(SyntheticKind kind) { return entry(kind).task; }
bool synthetic_kind_is_sensitive(SyntheticKind kind) { return entry(kind).sensitive; }

SyntheticKind synthetic_kind_from_name(std::string_view name) {
  std::string known;
  for (const KindEntry& e : kKinds) {
    if (e.name == name) return e.kind;
    known += (known.empty() ? "" : ", ") + std::string(e.name);
  }
  throw UsageError("unknown kind '" + std::string(name) + "'", "data.synthetic.kinds",
                   "use " + known);
}

Record synthetic_record(uint64_t seed, SyntheticKind kind, uint64_t index,
                        const SyntheticOptions& options) {
  ELASTRON_CHECK(options.length >= kShortestSynthetic, "synthetic documents have 64 words or more");
  Writer writer(RandomStream(seed, RandomPurpose::synthetic_data, uint32_t(index),
                             uint32_t(index >> 32) << 8 | uint32_t(kind),
                             uint32_t(options.length)));
  Parts parts;
  const int64_t n = options.length, clear = options.clearance;
  switch (kind) {
    case SyntheticKind::needle: parts = make_needle(writer, n, clear); break;
    case SyntheticKind::recall: parts = make_recall(writer, n, clear); break;
    case SyntheticKind::trace: parts = make_trace(writer, n, clear); break;
    case SyntheticKind::gist: parts = make_gist(writer, n, clear); break;
    case SyntheticKind::continuation: parts = make_continuation(writer, n, clear); break;
    case SyntheticKind::pattern: parts = make_pattern(writer, n, clear); break;
    case SyntheticKind::repeat: parts = make_repeat(writer, n, clear); break;
    case SyntheticKind::hops: parts = make_hops(writer, n, clear); break;
    case SyntheticKind::count: parts = make_count(writer, n, clear); break;
  }
  return {.context = join(parts.context),
          .question = join(parts.question),
          .answer = join(parts.answer),
          .task = std::string(entry(kind).task),
          .kind = std::string(entry(kind).name),
          .is_prefix = false};
}

const std::vector<std::string>& synthetic_vocabulary() {
  static const std::vector<std::string> words = [] {
    std::vector<std::string> all(kGrammar.begin(), kGrammar.end());
    const auto series = [&](std::string_view stem, int count, int first = 0) {
      for (int i = first; i < first + count; ++i) all.push_back(word(stem, uint32_t(i)));
    };
    series("n", kNoise);
    series("v", kValues);
    series("k", kKeys);
    series("s", kSequence);
    series("p", kSymbols);
    series("t", kTopics * kTopicWords);
    series("topic", kTopics);
    all.insert(all.end(), kHarderGrammar.begin(), kHarderGrammar.end());
    series("times", kMostTimes, 1);
    return all;
  }();
  return words;
}

std::span<const std::string> synthetic_vocabulary(SyntheticKind kind) {
  constexpr size_t kOwnWords = kHarderGrammar.size() + kMostTimes;
  const std::span<const std::string> all = synthetic_vocabulary();
  const bool harder = kind == SyntheticKind::hops || kind == SyntheticKind::count;
  return harder ? all : all.first(all.size() - kOwnWords);
}

std::string synthetic_tokenizer_json() {
  nlohmann::ordered_json vocabulary;
  int id = 0;
  for (const char* special : {"<unk>", "<eos>"}) vocabulary[special] = id++;
  for (const std::string& w : synthetic_vocabulary()) vocabulary[w] = id++;
  nlohmann::ordered_json added = nlohmann::ordered_json::array();
  for (int i = 0; i < 2; ++i) {
    added.push_back({{"id", i},
                     {"content", i == 0 ? "<unk>" : "<eos>"},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const nlohmann::ordered_json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
      {"post_processor", nullptr},
      {"decoder", nullptr},
      {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  return tokenizer.dump(1) + "\n";
}

}  // namespace elastron::data
