#include "data/document_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/config/problems.h"
#include "core/error.h"
#include "data/jsonl.h"
#include "data/ordered_workers.h"

namespace elastron::data {

namespace {

constexpr size_t kBatchBytes = size_t(64) << 10;
constexpr size_t kBytesInFlight = size_t(64) << 20;
constexpr size_t kBatchesPerThread = 8;
constexpr size_t kMostKinds = 1 << 16;

// More kinds of faults than this are counted together.
constexpr size_t kMostReasons = 20;

enum class Fate : uint8_t { kept, unknown_task, too_short, overlong, bad };

void count_bad(const std::string& fault, const std::string& where, RecordCounts& counts) {
  ++counts.bad;
  const bool known = counts.bad_by_reason.contains(fault);
  const bool room = counts.bad_by_reason.size() < kMostReasons;
  auto& those = counts.bad_by_reason[known || room ? fault : "other faults"];
  if (those.records++ == 0) those.first = where;
}

}  // namespace

struct DocumentReader::Batch {
  std::string path;
  std::vector<JsonlLine> lines;
  size_t bytes = 0;
};

struct DocumentReader::Outcome {
  Fate fate = Fate::kept;
  Document document;
  std::string kind;
  std::string where;
  std::string fault;              // of a bad record
  std::vector<int32_t> controls;  // in its text
};

std::string RecordCounts::dropped_text() const {
  return fmt::format("dropped: {} unknown task, {} short, {} overlong{}", unknown_task, too_short,
                     overlong, bad > 0 ? fmt::format(", {} bad", bad) : "");
}

std::string RecordCounts::bad_text() const {
  if (bad == 0) return "";
  std::string text = fmt::format("skipped {} bad record{}", bad, bad == 1 ? "" : "s");
  const char* between = ": ";
  for (const auto& [reason, those] : bad_by_reason) {
    text += fmt::format("{}{} ({}, first {})", between, reason, those.records, those.first);
    between = "; ";
  }
  return text;
}

DocumentReader::DocumentReader(const DataConfig& config, const Tokenizer& tokenizer, int32_t eos,
                               const std::string& model_folder)
    : config_(config),
      tokenizer_(tokenizer),
      eos_(eos),
      controls_(config.control_tokens == ControlTokens::automatic ? ControlTokens::keep
                                                                  : config.control_tokens),
      chat_(ChatTemplate::open(model_folder, config.chat_template)) {
  check_chat_template(chat_, tokenizer, model_folder);
}

std::vector<DocumentReader::Outcome> DocumentReader::make_documents(const Batch& batch) const {
  std::vector<Outcome> outcomes;
  for (const JsonlLine& line : batch.lines) {
    const std::string where = place_of(line, batch.path);
    Outcome& outcome = outcomes.emplace_back();
    outcome.where = where;
    Record record;
    try {
      record = parse_jsonl(line, batch.path);
    } catch (const InputError& error) {
      if (config_.bad_records == BadRecords::error) throw;
      outcome.fate = Fate::bad;
      outcome.fault = fault_of(error, where);
      continue;
    }
    outcome.kind = record.kind.empty() ? record.task : record.kind;
    if (task_id(record.task) < 0) {
      if (config_.unknown_task == UnknownTask::error) {
        throw InputError(
            "unknown task " + config::in_quotes(record.task), where + ", metadata.task",
            fmt::format("use one of {}, or drop such records (data.unknown_task: drop)",
                        fmt::join(kTaskNames, ", ")));
      }
      outcome.fate = Fate::unknown_task;
      continue;
    }
    Document document = make_document(record, tokenizer_, eos_, config_.label_mode, config_.prompts,
                                      &chat_, controls_);
    outcome.controls = find_controls({record.context, record.question, record.answer}, tokenizer_,
                                     controls_, where);
    if (document.length() > config_.max_tokens) {
      if (config_.overlong == Overlong::error) {
        throw InputError(fmt::format("the document has {} tokens, more than data.max_tokens = {}",
                                     document.length(), config_.max_tokens),
                         where,
                         "raise data.max_tokens, or drop such documents (data.overlong: drop)");
      }
      outcome.fate = Fate::overlong;
    } else if (document.length() < config_.min_tokens) {
      outcome.fate = Fate::too_short;
    } else {
      outcome.document = std::move(document);
    }
  }
  return outcomes;
}

int32_t DocumentReader::kind_id(const std::string& kind) {
  const auto it = std::ranges::find(kinds_, kind);
  if (it != kinds_.end()) return int32_t(it - kinds_.begin());
  kinds_.push_back(kind);
  return int32_t(kinds_.size() - 1);
}

void DocumentReader::take(std::vector<Outcome>&& outcomes, RecordCounts& counts,
                          const std::function<void(Document&&)>& on_document) {
  for (Outcome& o : outcomes) {
    const int64_t sample = counts.records++;
    switch (o.fate) {
      case Fate::unknown_task: ++counts.unknown_task; break;
      case Fate::overlong: ++counts.overlong; break;
      case Fate::too_short: ++counts.too_short; break;
      case Fate::bad: count_bad(o.fault, o.where, counts); break;
      case Fate::kept:
        o.document.kind_id = kind_id(o.kind);
        if (kinds_.size() > kMostKinds) {
          throw InputError(fmt::format("more than {} kinds", kMostKinds),
                           o.where + ", metadata.kind", "a kind is a group of records; use few");
        }
        o.document.sample_id = sample;
        counts.controls.add(o.controls, tokenizer_, o.where);
        on_document(std::move(o.document));
        break;
    }
  }
}

RecordCounts DocumentReader::read(const std::vector<std::string>& files, int threads,
                                  const std::function<void(Document&&)>& on_document,
                                  const std::function<void(const ReadProgress&)>& on_progress) {
  ReadProgress progress;
  // A missing file shows before hours are spent on the ones before it.
  for (const std::string& path : files) progress.bytes_total += JsonlReader(path).size();

  OrderedWorkers<Batch, std::vector<Outcome>> workers(
      threads, [this](Batch& batch) { return make_documents(batch); });
  std::deque<std::pair<size_t, uint64_t>> given;  // bytes of each batch, and of all up to it
  size_t in_flight = 0;
  const auto take_one = [&] {
    take(workers.take(), progress.counts, on_document);
    progress.bytes = given.front().second;
    in_flight -= given.front().first;
    given.pop_front();
    if (on_progress) on_progress(progress);
  };
  const auto take_all = [&] {
    while (workers.pending() > 0) take_one();
  };
  uint64_t bytes_before = 0;
  for (const std::string& path : files) {
    JsonlReader reader(path);
    std::optional<Batch> batch;
    const auto give = [&] {
      if (!batch) return;
      while (workers.ready() || workers.pending() >= kBatchesPerThread * size_t(threads) ||
             (workers.pending() > 0 && in_flight + batch->bytes > kBytesInFlight)) {
        take_one();
      }
      in_flight += batch->bytes;
      given.emplace_back(batch->bytes, bytes_before + reader.bytes_read());
      workers.give(*std::exchange(batch, std::nullopt));
    };
    JsonlLine line;
    const auto next_line = [&] {
      try {
        return reader.next(line);
      } catch (const Error&) {
        // An error in a record before it comes first.
        give();
        take_all();
        throw;
      }
    };
    while (next_line()) {
      if (!batch) batch.emplace().path = path;
      batch->bytes += line.text.size();
      batch->lines.push_back(std::exchange(line, {}));
      if (batch->bytes >= kBatchBytes) give();
    }
    give();
    bytes_before += reader.size();
  }
  take_all();
  progress.bytes = progress.bytes_total;
  if (on_progress) on_progress(progress);
  return progress.counts;
}

}  // namespace elastron::data
