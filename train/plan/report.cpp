#include "train/plan/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "train/plan/memory_check.h"
#include "train/plan/planned_batch.h"

namespace elastron::train {

namespace {

using Json = nlohmann::json;

constexpr int kScales[] = {64, 1024};

std::string layout_text(const parallel::MeshLayout& l) {
  return fmt::format("{} x {} x {}", l.data, l.context, l.tensor);
}

std::string kind_text(const LayoutPlan& p) {
  return p.layout.context == 1 ? "-"
                               : std::string(config::enum_name(p.config.parallel.context_kind));
}

std::string seconds_text(double s) {
  return s >= 1 ? fmt::format("{:.2f} s", s) : fmt::format("{:.2f} ms", 1e3 * s);
}

void check_layout(const Config& config, const model::ModelConfig& model,
                  const parallel::MeshLayout& layout, const std::vector<LayoutPlan>& possible) {
  for (const LayoutPlan& p : possible) {
    if (p.layout == layout &&
        (layout.context == 1 || p.config.parallel.context_kind == config.parallel.context_kind)) {
      return;
    }
  }
  std::vector<std::string> some;  // the best; one may be there by both context kinds
  for (const LayoutPlan& p : possible) {
    const std::string text = layout_text(p.layout);
    if (some.size() < 3 && std::ranges::find(some, text) == some.end()) some.push_back(text);
  }
  throw UsageError(
      fmt::format("data {} x context {} x tensor {} does not go with {} kv heads and {} micro "
                  "batches per step",
                  layout.data, layout.context, layout.tensor, model.kv_heads,
                  config.train.global_batch / config.train.micro_batch),
      "parallel",
      some.empty() ? "change train.global_batch, train.micro_batch or --ranks"
                   : fmt::format("these go: {}; or change train.global_batch, train.micro_batch or "
                                 "--ranks",
                                 fmt::join(some, ", ")));
}

// Recompute aside, which each row chooses for itself.
bool is_own(const LayoutPlan& row, const LayoutPlan& own) {
  return row.layout == own.layout && kind_text(row) == kind_text(own);
}

std::string memory_text(const LayoutPlan& p) {
  const MemoryPlan& m = p.memory();
  std::string out =
      fmt::format("memory of a rank (a micro batch has {} tokens, a rank {} of them)\n",
                  micro_batch_tokens(p.config), p.step.rows);
  const auto line = [&](const std::string& what, int64_t bytes, const std::string& more = "") {
    if (bytes == 0) return;
    out += fmt::format("  {:<44} {:>12}{}\n", what, describe_bytes(bytes),
                       more.empty() ? "" : "  " + more);
  };
  line(p.config.trains(Part::backbone) ? "backbone, gradients, optimiser" : "backbone", m.weights);
  line("packed copies of frozen weights", m.packed);
  line("routers and adapters, gradients, optimiser", m.trained);
  line("positions, ids, rotary table", m.tables);
  line("saved from forward to backward", m.saved, "in all layers; of each:");
  for (const auto& item : m.layer) line("    " + item.name, item.bytes);
  for (const auto& item : m.phases) {
    line("working, " + item.name, item.bytes, item.name == m.phase ? "counts: the largest" : "");
  }
  line("  of it logits of a chunk", m.logits);
  line("  of it keys, values and heads of others", m.communication);
  line("  gradient buckets (counted above)", m.gradients);
  line("planned peak", m.total(),
       fmt::format("{} of {} usable", p.fits ? "fits: within" : "does not fit: over",
                   describe_bytes(p.usable)));
  return out;
}

std::string time_text(const LayoutPlan& p) {
  std::string out =
      fmt::format("estimated time of a step: {} for {:.0f} tokens, {:.0f} tokens/s\n",
                  seconds_text(p.time.seconds()), p.time.tokens, p.time.tokens_per_second());
  for (const TimePart& part : p.time.parts) {
    out += fmt::format("  {:<44} {:>12} {:>5.1f} %  {}\n", part.what, seconds_text(part.seconds),
                       100 * part.seconds / p.time.seconds(), part.limit);
  }
  const auto calls = [&](const char* what, const DeviceCalls& c) {
    out += fmt::format("  {:<44} {:>12.0f} launches {:>8.1f} host waits {:>8.0f} copies\n", what,
                       c.launches, c.host_waits, c.copies);
  };
  calls("calls of the device, of each layer", p.step.layer);
  calls("calls of the device, of a micro batch", p.step.whole);
  return out;
}

Json calls_json(const DeviceCalls& c) {
  return {{"launches", c.launches}, {"host_waits", c.host_waits}, {"copies", c.copies}};
}

Json layout_json(const LayoutPlan& p) {
  const MemoryPlan& m = p.memory();
  Json parts = Json::array();
  for (const TimePart& part : p.time.parts) {
    parts.push_back({{"part", part.what}, {"seconds", part.seconds}, {"limit", part.limit}});
  }
  const auto items = [](const std::vector<MemoryItem>& list) {
    Json object = Json::object();
    for (const auto& item : list) object[item.name] = item.bytes;
    return object;
  };
  return {{"data", p.layout.data},
          {"context", p.layout.context},
          {"tensor", p.layout.tensor},
          {"context_kind", config::enum_name(p.config.parallel.context_kind)},
          {"recompute", config::enum_name(p.config.train.recompute)},
          {"fits", p.fits},
          {"step_seconds", p.time.seconds()},
          {"tokens_per_second", p.time.tokens_per_second()},
          {"limit", p.time.longest().what + ": " + p.time.longest().limit},
          {"time", parts},
          {"layer_calls", calls_json(p.step.layer)},
          {"micro_batch_calls", calls_json(p.step.whole)},
          {"memory_bytes",
           {{"total", m.total()},
            {"weights", m.weights},
            {"packed", m.packed},
            {"trained", m.trained},
            {"tables", m.tables},
            {"saved", m.saved},
            {"working", m.working},
            {"logits", m.logits},
            {"communication", m.communication},
            {"gradients", m.gradients},
            {"layer", items(m.layer)},
            {"phases", items(m.phases)}}}};
}

}  // namespace

PlanReport make_plan(const Config& config, const model::ModelConfig& model, int ranks, bool layouts,
                     const DeviceSpec& device, const Expected& expected, double pack_spread) {
  const auto layout =
      parallel::MeshLayout::resolve(ranks, int(config.parallel.data.value_or(0)),
                                    int(config.parallel.context), int(config.parallel.tensor));
  PlanReport report{.device = device,
                    .model = model,
                    .expected = expected,
                    .pack_spread = pack_spread,
                    .own = {}};
  auto all = rank_layouts(config, model, ranks, device, expected);
  check_layout(config, model, layout, all);
  report.own = plan_layout(config, model, layout, device, expected);
  const int64_t micro_batches = config.train.global_batch / config.train.micro_batch / layout.data;
  for (PlannedCollective c : report.own.step.micro_batch) {
    c.bytes *= micro_batches;
    c.calls *= micro_batches;
    report.collectives.push_back(std::move(c));
  }
  std::ranges::copy(report.own.step.update, std::back_inserter(report.collectives));
  report.keys = keys_to_turn(config, model, layout, device.kind, report.own.memory().total());
  const LayoutPlan& start = layouts && all.front().fits ? all.front() : report.own;
  for (const int n : kScales) {
    if (n <= ranks || n % (start.layout.context * start.layout.tensor) != 0) continue;
    for (const bool weak : {true, false}) {
      report.scaling.push_back(scale(start, model, n, weak, pack_spread, device, expected));
    }
  }
  if (layouts) report.layouts = std::move(all);
  return report;
}

std::string plan_text(const PlanReport& r) {
  const LayoutPlan& own = r.own;
  std::string out = fmt::format(
      "plan for {} x {}: data {} x context {} x tensor {}, recompute {}, {} packs of {} tokens per "
      "step\n"
      "assumed: {:.0f} % of the heads sparse (--msr), documents of {} tokens (--document-tokens), "
      "and the rates of the device file (docs/planning.md)\n\n",
      own.layout.ranks(), r.device.name, own.layout.data, own.layout.context, own.layout.tensor,
      config::enum_name(own.config.train.recompute), own.config.train.global_batch,
      own.config.data.max_tokens, 100 * r.expected.msr,
      r.expected.document_tokens > 0 ? r.expected.document_tokens : own.config.data.max_tokens);
  out += memory_text(own);
  if (!r.keys.empty()) {
    out += fmt::format("planned peak with other settings, each by itself: {}\n", r.keys);
  }
  out += "\n" + time_text(own);
  if (!r.collectives.empty()) {
    out += "\ncollectives of a step and rank\n";
    for (const auto& c : r.collectives) {
      out += fmt::format("  {:<8} {:<14} {:<32} {:>12} in {} calls\n", c.axis, c.operation, c.what,
                         describe_bytes(c.bytes), c.calls);
    }
  }
  if (!r.layouts.empty()) {
    out += fmt::format(
        "\nlayouts of {} ranks (data x context x tensor; context_kind), each with its fastest "
        "train.recompute that fits; * is the configured one; launches, host waits and copies of a "
        "micro batch\n"
        "  {:<18} {:<8} {:<10} {:>10} {:>10} {:>12} {:<5} {:>8} {:>6} {:>7} {}\n",
        own.layout.ranks(), "layout", "kind", "recompute", "step", "tokens/s", "memory", "fits",
        "launches", "waits", "copies", "limited by");
    for (const LayoutPlan& p : r.layouts) {
      out += fmt::format(
          "{} {:<18} {:<8} {:<10} {:>10} {:>10.0f} {:>12} {:<5} {:>8.0f} {:>6.0f} {:>7.0f} {}\n",
          is_own(p, own) ? '*' : ' ', layout_text(p.layout), kind_text(p),
          config::enum_name(p.config.train.recompute), seconds_text(p.time.seconds()),
          p.time.tokens_per_second(), describe_bytes(p.memory().total()), p.fits ? "yes" : "no",
          p.step.whole.launches, p.step.whole.host_waits, p.step.whole.copies,
          p.time.longest().what + ": " + p.time.longest().limit);
    }
  }
  if (!r.scaling.empty()) {
    out += fmt::format(
        "\nmore devices (costs of packs have a standard deviation of {:.0f} % of their mean, "
        "--pack-spread; parallel.balance: {})\n",
        100 * r.pack_spread, config::enum_name(own.config.parallel.balance));
    size_t i = 0;
    for (const ScalePlan& s : r.scaling) {
      const bool weak = i++ % 2 == 0;
      out += fmt::format("  {:>5} {:<30} {:<14} step {:>10}  efficiency {:>4.0f} %  {}\n", s.ranks,
                         weak ? "as many packs per data rank" : "the same packs per step",
                         layout_text(s.plan.layout), seconds_text(s.plan.time.seconds() / s.spread),
                         100 * s.efficiency, s.limit);
    }
  }
  return out;
}

nlohmann::json plan_json(const PlanReport& r) {
  Json object = {{"device", r.device.name},  {"ranks", r.own.layout.ranks()},
                 {"msr", r.expected.msr},    {"own", layout_json(r.own)},
                 {"keys_to_turn", r.keys},   {"collectives", Json::array()},
                 {"layouts", Json::array()}, {"scaling", Json::array()}};
  for (const auto& c : r.collectives) {
    object["collectives"].push_back({{"axis", c.axis},
                                     {"operation", c.operation},
                                     {"what", c.what},
                                     {"bytes", c.bytes},
                                     {"calls", c.calls}});
  }
  for (const LayoutPlan& p : r.layouts) object["layouts"].push_back(layout_json(p));
  size_t i = 0;
  for (const ScalePlan& s : r.scaling) {
    object["scaling"].push_back({{"ranks", s.ranks},
                                 {"weak", i++ % 2 == 0},
                                 {"efficiency", s.efficiency},
                                 {"limit", s.limit},
                                 {"plan", layout_json(s.plan)}});
  }
  return object;
}

}  // namespace elastron::train
