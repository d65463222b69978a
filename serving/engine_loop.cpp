#include "serving/engine_loop.h"

#include <algorithm>

#include "core/error.h"

namespace elastron::serving {

using nlohmann::json;

namespace {

constexpr std::chrono::milliseconds kIdle{500};

json of_request(const inference::Request& r) {
  const auto& s = r.sampling;
  return {{"prompt", r.prompt},
          {"max_tokens", r.max_tokens},
          {"sampling", {s.temperature, s.top_k, s.top_p, s.min_p, s.seed, s.stream}},
          {"ignore_eos", r.ignore_eos},
          {"min_tokens", r.min_tokens},
          {"stop_ids", r.stop_ids},
          {"stops", r.stops},
          {"top_logprobs", r.top_logprobs ? json(*r.top_logprobs) : json()},
          {"prompt_logprobs", r.prompt_logprobs}};
}

inference::Request request_of(const json& j) {
  const json& s = j.at("sampling");
  inference::Request r;
  r.prompt = j.at("prompt").get<std::vector<int32_t>>();
  r.max_tokens = j.at("max_tokens").get<int64_t>();
  r.sampling = {.temperature = s[0].get<double>(),
                .top_k = s[1].get<int64_t>(),
                .top_p = s[2].get<double>(),
                .min_p = s[3].get<double>(),
                .seed = s[4].get<uint64_t>(),
                .stream = s[5].get<uint64_t>()};
  r.ignore_eos = j.at("ignore_eos").get<bool>();
  r.min_tokens = j.at("min_tokens").get<int64_t>();
  r.stop_ids = j.at("stop_ids").get<std::vector<int32_t>>();
  r.stops = j.at("stops").get<std::vector<std::string>>();
  if (!j.at("top_logprobs").is_null()) r.top_logprobs = j.at("top_logprobs").get<int>();
  r.prompt_logprobs = j.at("prompt_logprobs").get<bool>();
  return r;
}

std::string packed(const json& j) {
  const auto bytes = json::to_cbor(j);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

// begin: [number, group, request]; cancel: numbers.
struct EngineLoop::Turn {
  json begin = json::array(), cancel = json::array();
  bool end = false;
};

EngineLoop::EngineLoop(inference::Engine& engine, const inference::SchedulerOptions& options,
                       RequestQueue* queue, std::function<void()> beat)
    : engine_(engine),
      scheduler_(engine, options),
      queue_(queue),
      beat_(std::move(beat)),
      load_(size_t(engine.mesh().data().size())) {}

int EngineLoop::group_with_least() const {
  return int(std::ranges::min_element(load_) - load_.begin());
}

EngineLoop::Turn EngineLoop::next_turn(bool ending) {
  parallel::Communicator& world = engine_.mesh().world();
  std::string told;
  if (queue_ != nullptr) {
    const bool idle = group_of_.empty();
    const auto orders = queue_->take(idle && !ending ? kIdle : std::chrono::milliseconds(0));
    Turn turn;
    for (const auto& [number, request] : orders.begin) {
      const int group = group_with_least();
      ++load_[size_t(group)];
      group_of_[number] = group;
      turn.begin.push_back({number, group, of_request(request)});
    }
    for (const int64_t number : orders.cancel) {
      const auto it = group_of_.find(number);
      if (it == group_of_.end()) continue;
      --load_[size_t(it->second)];
      group_of_.erase(it);
      ++figures_.cancelled;
      turn.cancel.push_back(number);
    }
    turn.end = ending && group_of_.empty() && turn.cancel.empty();
    if (world.size() == 1) return turn;
    told = packed({turn.begin, turn.cancel, turn.end});
  }
  const json all = json::from_cbor(world.broadcast_host(told, 0));
  return {.begin = all[0], .cancel = all[1], .end = all[2].get<bool>()};
}

void EngineLoop::obey(const Turn& turn, std::vector<Update>& updates) {
  const int group = engine_.mesh().data().rank();
  for (const json& order : turn.begin) {
    if (order[1].get<int>() != group) continue;
    const auto number = order[0].get<int64_t>();
    try {
      const int64_t request = scheduler_.submit(request_of(order[2]));
      number_of_[request] = number;
      request_of_[number] = request;
    } catch (const UsageError& e) {
      updates.push_back({.number = number,
                         .finish = inference::Finish::failed,
                         .error = e.what(),
                         .refused = true});
    }
  }
  for (const json& order : turn.cancel) {
    const auto it = request_of_.find(order.get<int64_t>());
    if (it == request_of_.end()) continue;
    scheduler_.cancel(it->second);
    number_of_.erase(it->second);
    request_of_.erase(it);
  }
}

Update EngineLoop::update_of(const inference::Event& event) {
  Update u{.number = number_of_.at(event.request)};
  if (event.prompt) {
    u.prompt = PromptReport{.tokens = event.prompt->tokens,
                            .summary = inference::summary_of(*event.prompt, engine_.mesh()),
                            .scored = event.prompt->scored};
  }
  u.token = event.token;
  u.text = event.text;
  u.finish = event.finish;
  u.end = event.end;
  if (event.error) {
    try {
      std::rethrow_exception(event.error);
    } catch (const std::exception& e) {
      u.error = e.what();
    }
  }
  if (event.finish) {
    request_of_.erase(u.number);
    number_of_.erase(event.request);
  }
  return u;
}

void EngineLoop::step(std::vector<Update>& updates) {
  if (scheduler_.idle()) return;
  for (const inference::Event& event : scheduler_.step()) updates.push_back(update_of(event));
}

void EngineLoop::deliver(std::vector<Update> updates) {
  parallel::Communicator& data = engine_.mesh().data();
  if (data.size() > 1) {
    const auto parts = data.all_gather_host(packed(updates));
    updates.clear();
    for (const std::string& part : parts) {
      for (auto& u : json::from_cbor(part).get<std::vector<Update>>()) updates.push_back(u);
    }
  }
  if (queue_ == nullptr) return;
  for (Update& u : updates) {
    figures_.prompt_tokens += u.prompt ? u.prompt->tokens : 0;
    figures_.generated_tokens += int(u.token.has_value()) + int(u.end.has_value());
    if (u.finish) {
      ++(*u.finish == inference::Finish::failed ? figures_.failed : figures_.finished);
      const auto it = group_of_.find(u.number);
      if (it != group_of_.end()) {
        --load_[size_t(it->second)];
        group_of_.erase(it);
      }
    }
    queue_->deliver(std::move(u));
  }
}

void EngineLoop::run(const std::function<bool()>& ending,
                     const std::function<void(const LoopFigures&)>& told) {
  for (;;) {
    beat_();
    const Turn turn = next_turn(queue_ != nullptr && ending());
    if (turn.end) return;
    std::vector<Update> updates;
    obey(turn, updates);
    step(updates);
    deliver(std::move(updates));
    if (queue_ == nullptr) continue;
    figures_.running = scheduler_.running();
    figures_.waiting = scheduler_.waiting();
    figures_.pages_used = scheduler_.pool().used_pages();
    told(figures_);
  }
}

}  // namespace elastron::serving
