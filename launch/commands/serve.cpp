// elastron serve --model DIR [--router PATH] [--host 127.0.0.1] [--port 8000] [--api-key KEY]
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "data/chat_template.h"
#include "data/leading_ids.h"
#include "data/tokenizer.h"
#include "launch/chat_template_argument.h"
#include "launch/command.h"
#include "launch/command_line.h"
#include "launch/opened_engine.h"
#include "launch/signals.h"
#include "parallel/agree.h"
#include "serving/engine_loop.h"
#include "serving/http_server.h"

namespace elastron::launch {

namespace {

struct Options {
  EngineArguments engine;
  serving::HttpOptions http;
  std::string name, chat_template = "auto", decode = "sparse", window = "block";
  int64_t max_length = 0, slots = 8, prefixes = 4, queue = 256, body_mb = 8, receive_time = 30,
          answer_time = 600;
  double cache_gb = 0;
};

// What is served, which the first rank's connections read.
struct Served {
  std::unique_ptr<data::Tokenizer> tokenizer;
  std::optional<data::ChatTemplate> chat;
  serving::ServedModel model;

  Served(const Options& options, int64_t max_position) {
    const std::string& folder = options.engine.model;
    const auto shapes = model::read_model_shapes(folder);
    tokenizer = data::load_tokenizer(folder);
    chat = data::ChatTemplate::open(folder, chat_template_setting(options.chat_template));
    std::string name = options.name;
    if (name.empty()) {
      name = std::filesystem::absolute(folder).lexically_normal().filename().string();
      if (name.empty()) name = "elastron";
    }
    model = {.name = name,
             .tokenizer = tokenizer.get(),
             .chat = &*chat,
             .vocab_size = std::min(shapes.vocab_size, tokenizer->vocab_size()),
             .max_position = max_position,
             .leading = data::leading_ids(folder)};
  }
};

ExitCode run(const Options& options, parallel::World& world) {
  auto everyone = world.split(0, world.rank(), "world");
  const Log log({.rank = world.rank()});
  int64_t longest = options.max_length;
  std::optional<Served> served;
  parallel::on_all_ranks(*everyone, [&] {
    if (longest == 0) longest = model::read_model_config(options.engine.model).covered_positions;
    served.emplace(options, longest);
  });
  OpenedEngine opened(world, options.engine, longest);
  inference::SchedulerOptions scheduling;
  scheduling.slots = options.slots;
  scheduling.prefixes = options.prefixes;
  scheduling.cache_bytes = cache_bytes(options.cache_gb);
  scheduling.cache = {.keep_all = options.decode == "full",
                      .whole_blocks = options.window == "block"};
  scheduling.vocab_size = served->model.vocab_size;
  scheduling.tokenizer = served->tokenizer.get();
  // One token, and one that follows it.
  parallel::on_all_ranks(
      *everyone, [&] { check_cache(opened.engine(), scheduling, 2, "a text", "--cache-gb"); });

  on_stop_request(OnStop::note);
  const bool first = world.rank() == 0;
  serving::RequestQueue queue(options.queue);
  serving::ServerMetrics metrics;
  std::unique_ptr<serving::HttpServer> server;
  parallel::on_all_ranks(*everyone, [&] {
    if (!first) return;
    server = std::make_unique<serving::HttpServer>(options.http, served->model, queue, metrics);
    std::printf("serving %s on http://%s:%d\n", served->model.name.c_str(),
                options.http.host.c_str(), server->port());
    std::fflush(stdout);
  });
  serving::EngineLoop loop(opened.engine(), scheduling, first ? &queue : nullptr,
                           [&] { opened.runtime().watchdog().beat(); });
  loop.run(
      [&] {
        if (!stop_requested()) return false;
        server->drain();
        queue.close();
        return true;
      },
      [&](const serving::LoopFigures& figures) { metrics.looped(figures); });
  if (server) server->finish();
  return ExitCode::ok;
}

}  // namespace

void add_serve(cli::App& app, Command& selected) {
  auto* command = app.add_subcommand("serve", "answers requests in OpenAI's interface over HTTP");
  auto options = std::make_shared<Options>();
  Options& o = *options;
  o.engine.shorter = "give a lower --max-length";
  o.engine.add_to(*command);
  command->add_option("--host", o.http.host, "address to listen on; default 127.0.0.1");
  command->add_option("--port", o.http.port, "0: any free one, which is printed; default 8000")
      ->check(cli::Range(0, 65535));
  command->add_option(
      "--api-key", o.http.api_key,
      "what clients must send; default: ELASTRON_API_KEY of the environment, or none");
  command->add_option("--name", o.name, "the model's name for clients; default: its folder's");
  command
      ->add_option("--max-length", o.max_length,
                   "tokens of the longest sequence; default: the model's positions")
      ->check(cli::Range(1, 1 << 24));
  command->add_option("--slots", o.slots, "texts that a group decodes at once; default 8")
      ->check(cli::Range(1, 4096));
  command
      ->add_option("--prefixes", o.prefixes,
                   "shared beginnings of prompts that are kept, while nobody needs their room; "
                   "default 4")
      ->check(cli::Range(0, 1 << 16));
  command
      ->add_option("--cache-gb", o.cache_gb,
                   "memory of a rank's key-value cache; default: as the device has")
      ->check(cli::NonNegativeNumber);
  command->add_option("--queue", o.queue, "requests that may wait; more are refused; default 256")
      ->check(cli::Range(1, 1 << 20));
  command
      ->add_option("--connections", o.http.most_connections,
                   "connections that are served at once, a thread each; default 256")
      ->check(cli::Range(1, 16384));
  command->add_option("--body-mb", o.body_mb, "the largest body; default 8")
      ->check(cli::Range(1, 1 << 10));
  command
      ->add_option("--receive-seconds", o.receive_time,
                   "within which a whole request must have come; default 30")
      ->check(cli::Range(1, 86400));
  command
      ->add_option("--answer-seconds", o.answer_time,
                   "within which an answer must have come to its end; default 600")
      ->check(cli::Range(1, 604800));
  std::vector<std::string> forms = chat_template_forms();
  forms.emplace_back("none");
  command
      ->add_option("--chat-template", o.chat_template,
                   "auto (the folder's), none, or a form by name (docs/tokenizers.md)")
      ->check(cli::IsMember(forms));
  command
      ->add_option("--decode", o.decode,
                   "sparse: streaming heads keep sink and local window only; full: all keys")
      ->check(cli::IsMember({"sparse", "full"}));
  command
      ->add_option("--window", o.window,
                   "local window of decoding in whole blocks, or in tokens exactly")
      ->check(cli::IsMember({"block", "token"}));
  command->callback([&selected, options] {
    options->http.most_body_bytes = options->body_mb << 20;
    options->http.receive_time = std::chrono::seconds(options->receive_time);
    options->http.answer_time = std::chrono::seconds(options->answer_time);
    const char* key = std::getenv("ELASTRON_API_KEY");
    if (options->http.api_key.empty() && key != nullptr) options->http.api_key = key;
    selected.together = [options](parallel::World& world) { return run(*options, world); };
  });
}

}  // namespace elastron::launch
