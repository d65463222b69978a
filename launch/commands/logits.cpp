// elastron logits --model DIR --tokens FILE.json --out FILE.h5 [--router PATH]
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "core/file/atomic_file.h"
#include "core/file/input_file.h"
#include "core/json.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/opened_engine.h"
#include "ops/elementwise.h"
#include "parallel/agree.h"
#include "parallel/hdf5_access.h"
#include "train/evaluate/logits_difference.h"

namespace elastron::launch {

namespace {

struct Options {
  EngineArguments engine;
  std::string tokens, out;
  std::string reference;  // a name of model.storage; empty: nothing to compare with
};

using Sequences = std::vector<std::vector<int32_t>>;

// A list of lists of token ids.
Sequences read_sequences(const std::string& path, int64_t vocab_size) {
  constexpr size_t kLongest = size_t(256) << 20;
  const auto root = parse_json_strict(read_small_file(path, kLongest), path,
                                      {.max_bytes = kLongest, .max_depth = 4});
  const auto fail = [&](const std::string& what) {
    throw InputError(what, path, "give a JSON list of lists of token ids");
  };
  if (!root.is_array() || root.empty()) fail("the file is not a list of sequences");
  Sequences sequences;
  for (const auto& list : root) {
    const std::string which = "sequence " + std::to_string(sequences.size());
    if (!list.is_array() || list.empty()) fail(which + " is not a list with tokens");
    auto& ids = sequences.emplace_back();
    for (const auto& id : list) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= uint64_t(vocab_size)) {
        fail(which + " has " + id.dump() + ", which is no token id below " +
             std::to_string(vocab_size));
      }
      ids.push_back(id.get<int32_t>());
    }
  }
  return sequences;
}

std::string group_of(size_t sequence) { return "/sequence_" + std::to_string(sequence); }

std::vector<Hdf5Dataset> datasets_of(const Sequences& sequences, const model::ModelConfig& m,
                                     bool gates) {
  std::vector<Hdf5Dataset> datasets;
  for (size_t i = 0; i < sequences.size(); ++i) {
    datasets.push_back(
        {group_of(i) + "/logits", DType::f32, {int64_t(sequences[i].size()), m.vocab_size}});
    if (gates) {
      datasets.push_back({group_of(i) + "/gates", DType::u8, {m.num_layers, m.kv_heads}});
    }
  }
  return datasets;
}

// Another storage of the same weights, and how far from its logits they are.
struct Reference {
  std::unique_ptr<inference::Engine> engine;
  train::LogitsDifference difference;
};

std::optional<DType> storage_named(const std::string& name) {
  train::ModelSection section;
  for (const auto& entry : config::EnumNames<train::WeightsKept>::names) {
    if (entry.name == name) section.storage = entry.value;
  }
  return section.storage_dtype();
}

// Forward pass of one sequence. Context ranks take rows of the logits in turns, which the first rank
// of each tensor group writes; each rank of the first one writes the gates of its own heads.
void write_sequence(inference::Engine& engine, const std::vector<int32_t>& ids,
                    const std::string& group, bool with_gates, Reference* reference,
                    DatasetParts& file) {
  constexpr int64_t kChunkBytes = int64_t(64) << 20;
  model::RoutedHeads heads;
  const inference::HiddenRows hidden = engine.forward(ids, &heads);
  std::optional<inference::HiddenRows> other;
  if (reference != nullptr) other = reference->engine->forward(ids);
  const auto host_logits = [](const inference::Engine& of, const Tensor& rows) {
    return ops::cast(of.logits(rows), DType::f32).on_host();
  };
  const int64_t tokens = hidden.count(), vocab = engine.model().vocab_size;
  const int64_t chunk = std::clamp<int64_t>(kChunkBytes / (4 * vocab), 1, tokens);
  const parallel::Communicator& context = engine.mesh().context();
  for (int64_t row = 0; row < tokens; row += chunk) {
    const int64_t end = std::min(row + chunk, tokens);
    const Tensor rows = hidden.rows(row, end);
    const Tensor other_rows = other ? other->rows(row, end) : Tensor{};
    if (row / chunk % context.size() != context.rank()) continue;
    const Tensor logits = host_logits(engine, rows);
    const Tensor wanted = other ? host_logits(*reference->engine, other_rows) : Tensor{};
    if (engine.mesh().tensor().rank() != 0) continue;
    file.write(group + "/logits", logits, {row, 0});
    if (reference != nullptr) reference->difference.add(logits, wanted);
  }
  if (!with_gates || context.rank() != 0) return;
  for (size_t l = 0; l < heads.gates.size(); ++l) {
    file.write(group + "/gates", heads.gates[l].on_host(), {int64_t(l), engine.first_kv_head()});
  }
}

ExitCode run(const Options& options, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  const Log log({.rank = world.rank()});
  Sequences sequences;
  size_t longest = 0;
  parallel::on_all_ranks(*everyone, [&] {
    const auto m = model::read_model_shapes(options.engine.model);
    sequences = read_sequences(options.tokens, m.vocab_size);
    for (const auto& s : sequences) longest = std::max(longest, s.size());
  });
  OpenedEngine opened(world, options.engine, int64_t(longest));
  inference::Engine& engine = opened.engine();
  std::optional<Reference> reference;
  if (!options.reference.empty()) {
    parallel::on_all_ranks(*everyone, [&] {
      reference.emplace().engine = opened.engine_that_keeps(storage_named(options.reference));
    });
  }

  const std::string temporary = temporary_name(options.out);
  const TemporaryFile cleanup(world.rank() == 0 ? temporary : "");
  const bool gates = !options.engine.router.empty() || options.engine.force != "none";
  const auto datasets = datasets_of(sequences, engine.model(), gates);
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() != 0) return;
    std::filesystem::remove(temporary);
    uint64_t bytes = 65536;
    for (const auto& d : datasets) bytes += 4096 + uint64_t(d.shape.numel()) * dtype_size(d.dtype);
    check_room(temporary, bytes);
  });
  DatasetParts file = parallel::create_together(temporary, datasets, *everyone);
  const parallel::Communicator& data = engine.mesh().data();
  for (size_t i = size_t(data.rank()); i < sequences.size(); i += size_t(data.size())) {
    opened.runtime().watchdog().beat();
    write_sequence(engine, sequences[i], group_of(i), gates, reference ? &*reference : nullptr,
                   file);
  }
  parallel::close_together(file, *everyone);
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() == 0) publish_file(temporary, options.out);
  });
  if (reference) {
    // Each tensor group's first rank has its sequences; the others have none.
    const std::string summary = reference->difference.summary(*everyone);
    if (world.rank() == 0) {
      fmt::print("against weights stored as {}: {}\n", options.reference, summary);
    }
  }
  return ExitCode::ok;
}

}  // namespace

void add_logits(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("logits", "forward pass of a model folder on token ids");
  auto options = std::make_shared<Options>();
  options->engine.add_to(*command);
  command->add_option("--tokens", options->tokens, "JSON: a list of lists of token ids")
      ->required();
  command
      ->add_option("--out", options->out,
                   "HDF5: /sequence_<i>/logits [tokens, vocab], and with a router or --force "
                   "/sequence_<i>/gates [layers, kv_heads], 1 = full attention")
      ->required();
  command
      ->add_option("--reference-storage", options->reference,
                   "also keep the weights as that value of model.storage says, and print how far "
                   "the logits are from those: with --set model.storage=fp8, for instance bf16")
      ->check(cli::IsMember({"auto", "fp8", "bf16", "fp32"}));
  command->callback([&selected, options] {
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
