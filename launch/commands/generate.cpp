// elastron generate --model DIR [--router PATH] --prompt TEXT|- [--chat]
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "core/json.h"
#include "data/chat_template.h"
#include "data/tokenizer.h"
#include "inference/generation.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/opened_engine.h"
#include "parallel/agree.h"

namespace elastron::launch {

namespace {

struct Options {
  EngineArguments engine;
  std::string prompt, ids;
  bool chat = false;
  std::string decode = "sparse", window = "block";
  inference::GenerationOptions generation;
};

// Prompt in, text out; without a tokenizer where ids are given.
class Prompt {
 public:
  // `text`: the prompt as rank 0 read it.
  Prompt(const Options& options, const std::string& text) {
    const auto m = model::read_model_shapes(options.engine.model);
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
      const std::string& folder = options.engine.model;
      tokenizer_ = data::load_tokenizer(folder);
      vocab_size_ = std::min(vocab_size_, tokenizer_->vocab_size());
      ids_ = tokenizer_->encode(options.chat ? as_conversation(folder, text) : text);
    }
    if (ids_.empty()) throw UsageError("the prompt is empty", "--prompt", "give some text");
    for (const int32_t id : ids_) {
      if (id >= m.vocab_size) {
        throw InputError("the tokenizer has ids that the model lacks", options.engine.model,
                         "use the tokenizer of this model");
      }
    }
  }

  const std::vector<int32_t>& ids() const { return ids_; }
  // Ids below it may be generated.
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
    return form.render({&turn, 1}, /*generation_prompt=*/true).text;
  }

  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::vector<int32_t> ids_;
  int64_t vocab_size_ = 0;
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
  OpenedEngine opened(world, options.engine,
                      int64_t(prompt->ids().size()) + options.generation.max_tokens);
  inference::GenerationOptions how = options.generation;
  how.cache = {.keep_all = options.decode == "full", .whole_blocks = options.window == "block"};
  inference::Generation generation(opened.engine(), prompt->ids(), prompt->vocab_size(), how);
  const auto generated = generation.run([&] { opened.runtime().watchdog().beat(); });
  const std::string report = generation.report();
  parallel::on_all_ranks(*everyone, [&] {
    if (world.rank() != 0) return;
    std::fputs(report.c_str(), stderr);
    std::fputs((prompt->output(generated) + "\n").c_str(), stdout);
  });
  return ExitCode::ok;
}

}  // namespace

void add_generate(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("generate", "continues a prompt; shows the router's gates");
  auto options = std::make_shared<Options>();
  options->engine.shorter = "give a shorter prompt, or a lower --max-tokens";
  options->engine.add_to(*command);
  auto* prompt = command->add_option("--prompt", options->prompt, "text; -: standard input");
  auto* ids = command->add_option("--ids", options->ids,
                                  "the prompt as a JSON list of token ids; prints ids");
  prompt->excludes(ids);
  command->add_flag("--chat", options->chat, "the prompt is a user's turn of a conversation")
      ->needs(prompt);
  command->add_option("--max-tokens", options->generation.max_tokens, "most tokens to generate")
      ->check(cli::Range(1, 1 << 24));
  command
      ->add_option("--temperature", options->generation.sampling.temperature,
                   "0: the likeliest token")
      ->check(cli::NonNegativeNumber);
  command
      ->add_option("--top-k", options->generation.sampling.top_k,
                   "draw among so many of the likeliest tokens; 0: all")
      ->check(cli::NonNegativeNumber);
  command
      ->add_option("--top-p", options->generation.sampling.top_p,
                   "draw among the likeliest tokens that have this probability together")
      ->check(cli::Range(0.0, 1.0));
  command
      ->add_option("--min-p", options->generation.sampling.min_p,
                   "draw among tokens that have this share of the likeliest one's probability")
      ->check(cli::Range(0.0, 1.0));
  command->add_option("--seed", options->generation.sampling.seed, "of drawn tokens");
  command->add_flag("--ignore-eos", options->generation.ignore_eos,
                    "go on after the end-of-sequence token");
  command
      ->add_option("--decode", options->decode,
                   "sparse: streaming heads keep sink and local window only; full: all keys")
      ->check(cli::IsMember({"sparse", "full"}));
  command
      ->add_option("--window", options->window,
                   "local window of decoding in whole blocks, or in tokens exactly")
      ->check(cli::IsMember({"block", "token"}));
  command->callback([&selected, options] {
    if (options->prompt.empty() == options->ids.empty()) {
      throw cli::ValidationError("one of --prompt and --ids is needed");
    }
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
