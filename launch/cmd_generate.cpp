// elastron generate --model DIR [--router PATH] --prompt TEXT|- [--chat]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "core/json.h"
#include "data/chat_template.h"
#include "data/tokenizer.h"
#include "launch/command.h"
#include "launch/inference.h"
#include "launch/next_token.h"
#include "ops/elementwise.h"
#include "parallel/agree.h"
#include "train/step.h"

namespace elastron::launch {

namespace {

struct Options {
  InferenceArguments inference;
  std::string prompt, ids, decode = "sparse", window = "block";
  bool chat = false, ignore_eos = false;
  int64_t max_tokens = 128;
  Sampling sampling;
};

// Prompt in, text out; without a tokenizer where ids are given.
class Prompt {
 public:
  // `text`: the prompt as rank 0 read it.
  Prompt(const Options& options, const std::string& text) {
    const auto m = model::read_model_config(options.inference.model);
    vocab_size_ = m.vocab_size;
    if (!options.ids.empty()) {
      const auto list = parse_json_strict(options.ids, "--ids");
      const auto fits = [&](const nlohmann::json& id) {
        return id.is_number_unsigned() && id.get<uint64_t>() < uint64_t(m.vocab_size);
      };
      if (!list.is_array() || !std::ranges::all_of(list, fits)) {
        throw UsageError("this is no list of token ids below " + std::to_string(m.vocab_size),
                         "--ids", "give a JSON list such as [1, 2, 3]");
      }
      ids_ = list.get<std::vector<int32_t>>();
    } else {
      const std::string& folder = options.inference.model;
      tokenizer_ = data::load_tokenizer(folder);
      vocab_size_ = std::min(vocab_size_, tokenizer_->vocab_size());
      ids_ = tokenizer_->encode(options.chat ? as_conversation(folder, text) : text);
    }
    if (ids_.empty()) throw UsageError("the prompt is empty", "--prompt", "give some text");
    for (const int32_t id : ids_) {
      if (id >= m.vocab_size) {
        throw InputError("the tokenizer has ids that the model lacks", options.inference.model,
                         "use the tokenizer of this model");
      }
    }
  }

  const std::vector<int32_t>& ids() const { return ids_; }
  // Ids that may be generated: the model's vocabulary is often padded beyond the tokenizer's.
  int64_t vocab_size() const { return vocab_size_; }
  std::string output(const std::vector<int32_t>& generated) const {
    return tokenizer_ ? tokenizer_->decode(generated) : nlohmann::json(generated).dump();
  }

 private:
  static std::string as_conversation(const std::string& folder, const std::string& text) {
    const auto form = data::ChatTemplate::open(folder, data::ChatTemplateSetting::automatic);
    if (form.kind() == data::ChatTemplateSetting::none) {
      throw UsageError("the model folder has no chat template", "--chat", "leave --chat out");
    }
    const data::ChatMessage turn{.role = "user", .content = text};
    return form.render({&turn, 1}, /*generation_prompt=*/true);
  }

  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::vector<int32_t> ids_;
  int64_t vocab_size_ = 0;
};

class Generation {
 public:
  Generation(const Options& options, Inference& inference, const Prompt& prompt)
      : options_(options),
        inference_(inference),
        prompt_(prompt.ids()),
        vocab_size_(size_t(prompt.vocab_size())) {
    const auto& m = inference.decoder().config();
    router::RouterConfig rule = inference.router_config();
    if (options.window == "token") rule.ssa.block = 1;
    cache_ = std::make_unique<model::KvCache>(
        m.num_layers, m.kv_heads / inference.mesh().tensor().size(), m.head_dim,
        int64_t(prompt_.size()) + options.max_tokens, rule.streaming_rule(),
        inference.decoder().options().dtype, inference.runtime().device());
  }

  std::vector<int32_t> run(const std::function<void()>& beat) {
    Tensor hidden = prefill();
    std::vector<int32_t> generated;
    const auto& stop = inference_.decoder().config().eos_token_ids;
    while (int64_t(generated.size()) < options_.max_tokens) {
      beat();
      const int64_t position = int64_t(prompt_.size() + generated.size());
      const auto logits =
          ops::cast(inference_.decoder().logits(hidden), DType::f32).to_vector<float>();
      const int32_t id =
          next_token(std::span(logits).first(vocab_size_), options_.sampling, position);
      if (!options_.ignore_eos && std::ranges::find(stop, id) != stop.end()) break;
      generated.push_back(id);
      if (int64_t(generated.size()) < options_.max_tokens) {
        hidden = inference_.decoder().decode(id, position, *cache_);
      }
    }
    return generated;
  }

  // What was routed where and what the cache holds, over all ranks. Collective.
  std::string report() const {
    parallel::Communicator& tensor = inference_.mesh().tensor();
    std::vector<std::string> mine;
    for (const Tensor& gate : gates_) {
      std::string& line = mine.emplace_back();
      for (const uint8_t z : gate.to_vector<uint8_t>()) line += z != 0 ? 'F' : 's';
    }
    std::string text = "gates, one line per layer and one letter per kv head (F full, s sparse):\n";
    for (const std::string& line : mine) {
      for (const std::string& part : tensor.all_gather_host(line)) text += part;
      text += "\n";
    }
    double bytes[] = {double(cache_->bytes()), double(cache_->full_bytes())};
    tensor.all_reduce_host(std::span<double>(bytes), parallel::ReduceOp::sum);
    return text + fmt::format("key-value cache: {:.2f} MB in place of {:.2f} MB, {:.1f} % saved\n",
                              bytes[0] * 1e-6, bytes[1] * 1e-6, 100 * (1 - bytes[0] / bytes[1]));
  }

 private:
  // -> hidden state of the last prompt token.
  Tensor prefill() {
    model::Decoder& decoder = inference_.decoder();
    const data::Document document = prompt_document(prompt_);
    const data::PackedBatch batch = data::make_packed_batch({&document}, 0);
    const auto router_batch =
        train::make_router_batch(batch, inference_.router_config(), 0, 1.0, /*sample=*/false);
    cache_->keep_all(options_.decode == "full");
    const Tensor hidden =
        decoder.forward(model::DeviceBatch::make(batch, inference_.runtime().device()),
                        router_batch, inference_.routed(), nullptr, &gates_, cache_.get());
    return hidden.slice(0, hidden.size(0) - 1, hidden.size(0)).clone();
  }

  const Options& options_;
  Inference& inference_;
  const std::vector<int32_t>& prompt_;
  size_t vocab_size_;
  std::unique_ptr<model::KvCache> cache_;
  std::vector<Tensor> gates_;
};

ExitCode run(const Options& options, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  const Log log({.rank = world.rank()});
  std::string text = options.prompt;
  if (text == "-") {
    // Only the first rank has the terminal's input.
    text.clear();
    if (world.rank() == 0) text.assign(std::istreambuf_iterator<char>(std::cin), {});
    text = everyone->broadcast_host(text, 0);
  }
  std::optional<Prompt> prompt;
  parallel::on_all_ranks(*everyone, [&] { prompt.emplace(options, text); });
  Inference inference(world, options.inference, int64_t(prompt->ids().size()) + options.max_tokens);
  Generation generation(options, inference, *prompt);
  const auto generated = generation.run([&] { inference.runtime().watchdog().beat(); });
  const std::string report = generation.report();
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() != 0) return;
    std::fputs(report.c_str(), stderr);
    std::fputs((prompt->output(generated) + "\n").c_str(), stdout);
  });
  return ExitCode::ok;
}

}  // namespace

void add_generate(CLI::App& app, Command& selected) {
  auto* command = app.add_subcommand("generate", "continues a prompt; shows the router's gates");
  auto options = std::make_shared<Options>();
  options->inference.add_to(*command);
  auto* prompt = command->add_option("--prompt", options->prompt, "text; -: standard input");
  auto* ids = command->add_option("--ids", options->ids,
                                  "the prompt as a JSON list of token ids; prints ids");
  prompt->excludes(ids);
  command->add_flag("--chat", options->chat, "the prompt is a user's turn of a conversation")
      ->needs(prompt);
  command->add_option("--max-tokens", options->max_tokens, "most tokens to generate")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--temperature", options->sampling.temperature, "0: the likeliest token")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--top-p", options->sampling.top_p,
                   "draw among the likeliest tokens that have this probability together")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--seed", options->sampling.seed, "of drawn tokens");
  command->add_flag("--ignore-eos", options->ignore_eos, "go on after the end-of-sequence token");
  command
      ->add_option("--decode", options->decode,
                   "sparse: streaming heads keep sink and local window only; full: all keys")
      ->check(CLI::IsMember({"sparse", "full"}));
  command
      ->add_option("--window", options->window,
                   "local window of decoding in whole blocks, or in tokens exactly")
      ->check(CLI::IsMember({"block", "token"}));
  command->callback([&selected, options] {
    if (options->prompt.empty() == options->ids.empty()) {
      throw CLI::ValidationError("one of --prompt and --ids is needed");
    }
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
