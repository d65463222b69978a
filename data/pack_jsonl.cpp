#include "data/pack_jsonl.h"

#include <filesystem>
#include <limits>

#include "core/error.h"
#include "core/file/scratch_file.h"
#include "data/file_list.h"
#include "data/jsonl_source.h"
#include "data/packed_writer.h"

namespace elastron::data {

namespace {

namespace fs = std::filesystem;

std::string folder_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void check_out(const std::string& out, const std::vector<std::string>& files) {
  std::error_code ignored;
  for (const std::string& file : files) {
    if (fs::equivalent(file, out, ignored)) {
      throw UsageError("the output is one of the input files", out, "name another file");
    }
  }
  if (fs::is_directory(out, ignored)) {
    throw UsageError("the output is a folder", out, "name a file in it");
  }
}

// Documents in a scratch file, read back in any order.
class Spill {
 public:
  explicit Spill(const std::string& folder) : file_(folder) {}

  // In memory, for packing: [documents] tokens.
  const std::vector<int64_t>& lengths() const { return lengths_; }

  void add(const Document& d) {
    const Head head = {.sample_id = d.sample_id,
                       .user_length = int32_t(d.user_length),
                       .answer_offset = int32_t(d.answer_offset),
                       .answer_length = int32_t(d.answer_length),
                       .task_id = d.task_id,
                       .kind_id = d.kind_id};
    places_.push_back(file_.size());
    lengths_.push_back(d.length());
    file_.append(std::as_bytes(std::span(&head, 1)));
    file_.append(std::as_bytes(std::span(d.ids)));
  }

  Document document(int64_t i) {
    Head head;
    const uint64_t place = places_[size_t(i)];
    file_.read_at(place, std::as_writable_bytes(std::span(&head, 1)));
    Document d{.user_length = head.user_length,
               .answer_offset = head.answer_offset,
               .answer_length = head.answer_length,
               .task_id = head.task_id,
               .kind_id = head.kind_id,
               .sample_id = head.sample_id};
    d.ids.resize(size_t(lengths_[size_t(i)]));
    file_.read_at(place + sizeof head, std::as_writable_bytes(std::span(d.ids)));
    return d;
  }

 private:
  struct Head {
    int64_t sample_id = 0;
    int32_t user_length = 0, answer_offset = 0, answer_length = 0, task_id = 0, kind_id = 0;
  };
  ScratchFile file_;
  std::vector<uint64_t> places_;
  std::vector<int64_t> lengths_;
};

}  // namespace

PackSummary pack_jsonl(const std::vector<std::string>& names, const std::string& out,
                       const DataConfig& config, const Tokenizer& tokenizer, int32_t eos,
                       const std::string& model_folder, int threads,
                       const std::function<void(const PackProgress&)>& on_progress) {
  const std::vector<std::string> files = data_files(names, ".jsonl", "--in");
  check_out(out, files);
  if (config.max_tokens > std::numeric_limits<int32_t>::max()) {
    throw UsageError("max_tokens is too large", "--max-tokens", "use less than 2^31");
  }
  if (eos < 0 || eos >= tokenizer.vocab_size()) {
    throw InputError("the end-of-sequence token " + std::to_string(eos) +
                         " is not in the tokenizer's vocabulary",
                     model_folder, "use the tokenizer.json and config.json of one model");
  }
  const auto report = [&](const PackProgress& progress) {
    if (on_progress) on_progress(progress);
  };
  using Phase = PackProgress::Phase;

  PackSummary summary;
  DocumentReader reader(config, tokenizer, eos, model_folder);
  summary.control_tokens = reader.control_tokens();
  Spill spill(folder_of(out));
  summary.counts = reader.read(
      files, threads,
      [&](Document&& d) {
        ++summary.documents;
        summary.tokens += d.length();
        PackSummary::Task& task = summary.tasks[size_t(d.task_id)];
        ++task.documents;
        task.tokens += d.length();
        spill.add(d);
      },
      [&](const ReadProgress& p) {
        report({Phase::tokenising, p.bytes, p.bytes_total, summary.documents, summary.tokens});
      });
  if (summary.documents == 0) no_document_left(summary.counts, files, "--in");

  const auto packs = pack_documents(spill.lengths(), config.max_tokens, config.packing);
  summary.packs = int64_t(packs.size());
  PackedWriter writer(out, {summary.packs, summary.documents, summary.tokens});
  uint64_t written = 0;
  std::vector<Document> documents;
  for (const auto& pack : packs) {
    documents.clear();
    for (const int64_t i : pack) {
      documents.push_back(spill.document(i));
      written += uint64_t(documents.back().length());
    }
    writer.add(documents);
    report({Phase::writing, written, uint64_t(summary.tokens), summary.documents, summary.tokens});
  }
  const PackedHeader header = {.vocabulary = vocabulary_fingerprint(tokenizer),
                               .vocab_size = tokenizer.vocab_size(),
                               .eos = eos,
                               .max_tokens = config.max_tokens,
                               .labels = config.label_mode,
                               .packing = config.packing,
                               .chat_template = reader.chat_template(),
                               .records = summary.counts.records};
  writer.publish(header, reader.kinds(), [&](int64_t pack) {
    report({Phase::verifying, uint64_t(pack + 1), uint64_t(summary.packs), summary.documents,
            summary.tokens});
  });
  return summary;
}

}  // namespace elastron::data
