// elastron tokenize --model DIR: token ids of text, a JSON list per line of standard input. --chat
// reads conversations, --decode goes back.
#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>

#include "core/json.h"
#include "core/log.h"
#include "data/chat_messages.h"
#include "data/chat_template.h"
#include "data/config.h"
#include "data/tokenizer.h"
#include "launch/chat_template_argument.h"
#include "launch/command.h"
#include "launch/command_line.h"

namespace elastron::launch {

namespace {

using data::ChatTemplate;
using data::ChatTemplateSetting;
using nlohmann::json;

struct Options {
  std::string model;
  bool chat = false, decode = false;
  std::string chat_template = "auto";
};

std::string ids_line(const std::vector<int32_t>& ids) {
  std::string line = "[";
  for (const int32_t id : ids) {
    if (line.size() > 1) line += ", ";
    line += std::to_string(id);
  }
  return line + "]";
}

std::string decoded_line(const data::Tokenizer& tokenizer, const std::string& line,
                         const std::string& where) {
  const json list = parse_json_strict(line, where);
  const auto refuse = [&] {
    throw InputError("not a list of token ids", where, "give lines such as [1, 2, 3]");
  };
  if (!list.is_array()) refuse();
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= uint64_t(tokenizer.vocab_size())) {
      if (!id.is_number_integer()) refuse();
      throw InputError(
          "token id " + id.dump(), where,
          "ids of this tokenizer are 0 to " + std::to_string(tokenizer.vocab_size() - 1));
    }
    ids.push_back(id.get<int32_t>());
  }
  return json(tokenizer.decode(ids)).dump(-1, ' ', /*ensure_ascii=*/true);
}

// A conversation as text. The prompt for an answer follows unless the last message is one.
std::string chat_text(const ChatTemplate& chat, const std::string& line, const std::string& where) {
  const auto messages =
      data::chat_messages(parse_json_strict(line, where), "the conversation", where);
  return chat.render(messages, messages.back().role != "assistant", where).text;
}

ExitCode tokenize(const Options& options) {
  // A filter: it has nothing to save, so signals end it.
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, SIG_DFL);
  const Log log({});
  const auto tokenizer = data::load_tokenizer(options.model);
  const auto chat =
      ChatTemplate::open(options.model, options.chat ? chat_template_setting(options.chat_template)
                                                     : ChatTemplateSetting::none);
  if (options.chat && chat.kind() == ChatTemplateSetting::none) {
    throw InputError("the model has no chat template", options.model,
                     "name one with --chat-template");
  }
  std::ios::sync_with_stdio(false);
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    const std::string where = "standard input, line " + std::to_string(number);
    const std::string out =
        options.decode
            ? decoded_line(*tokenizer, line, where)
            : ids_line(tokenizer->encode(options.chat ? chat_text(chat, line, where) : line));
    std::fwrite(out.data(), 1, out.size(), stdout);
    std::fputc('\n', stdout);
    if (std::ferror(stdout) != 0) break;
  }
  if (std::cin.bad()) throw InputError("cannot read", "standard input", "check the disk");
  return ExitCode::ok;
}

}  // namespace

void add_tokenize(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("tokenize", "token ids of the lines of standard input");
  auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "model folder with tokenizer.json")->required();
  auto* chat = command->add_flag(
      "--chat", options->chat,
      R"(each line is a conversation: [{"role": "user", "content": "Hello"}, ...])");
  command
      ->add_option("--chat-template", options->chat_template, "default: auto, the model folder's")
      ->check(cli::IsMember(chat_template_forms()))
      ->needs(chat);
  command
      ->add_flag("--decode", options->decode, "lines are lists of ids; prints text as JSON strings")
      ->excludes(chat);
  command->callback(
      [&selected, options] { selected.alone = [options] { return tokenize(*options); }; });
}

}  // namespace elastron::launch
