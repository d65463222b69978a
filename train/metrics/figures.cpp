#include "train/metrics/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

#include "train/step/learning_rates.h"

namespace elastron::train {

namespace {

std::string duration(double seconds) {
  const auto s = int64_t(seconds + 0.5);
  return fmt::format("{}:{:02d}:{:02d}", s / 3600, s / 60 % 60, s % 60);
}

FigureValue by_task_name(const std::vector<double>& values) {
  FigureValue map = FigureValue::object();
  for (size_t t = 0; t < values.size(); ++t) map[data::kTaskNames[t]] = values[t];
  return map;
}

template <std::vector<double> (*of)(const router::SparsityObjective&)>
std::optional<FigureValue> of_objective(const StepReport& r) {
  if (r.objective == nullptr) return {};
  return by_task_name(of(*r.objective));
}

std::vector<double> targets(const router::SparsityObjective& objective) {
  std::vector<double> all;
  for (int64_t t = 0; t < data::kTaskCount; ++t) all.push_back(objective.target(t));
  return all;
}
std::vector<double> lambda1(const router::SparsityObjective& o) { return o.lambda1(); }
std::vector<double> lambda2(const router::SparsityObjective& o) { return o.lambda2(); }

template <ParameterGroup group>
std::optional<FigureValue> rate(const StepReport& r) {
  if (!trains_group(r.config, group)) return {};
  return r.result.lr.at(group);
}

// The rate that stands for the run's.
double leading_rate(const StepReport& r) {
  for (const auto& [group, name] : kRates) {
    if (trains_group(r.config, group)) return r.result.lr.at(group);
  }
  return r.result.lr.at(ParameterGroup::backbone);
}

// "0.25 (Code 0.10, Single QA 0.40)".
std::string msr_line(const StepReport& r) {
  std::string line = fmt::format("msr {:.2f}", r.result.all.msr);
  if (r.objective == nullptr) return line;
  std::string tasks;
  for (size_t t = 0; t < r.result.task.size(); ++t) {
    if (r.result.task[t].documents == 0) continue;
    tasks += fmt::format("{}{} {:.2f}", tasks.empty() ? "" : ", ", data::kTaskNames[t],
                         r.result.task[t].msr);
  }
  return line + " (" + tasks + ")";
}

template <std::optional<double> StepReport::*field>
std::optional<FigureValue> measured(const StepReport& r) {
  if (!(r.*field)) return {};
  return *(r.*field);
}

using R = const StepReport&;
using Maybe = std::optional<FigureValue>;

const Figure kLoss[] = {
    {{"loss", "train/loss", "nats", "the loss of the data and the sparsity objective"},
     Told([](R r) -> Maybe { return r.result.loss; }),
     [](R r) { return fmt::format("loss {:.4f}", r.result.loss); }},
};

const Figure kSparsity[] = {
    {{"sparsity_loss", "train/sparsity_loss", "", "the sparsity objective, mean over packs"},
     Sum{&StepSums::sparsity_loss},
     [](R r) {
       return r.objective == nullptr ? ""
                                     : fmt::format("sparsity {:.4f}", r.result.sums.sparsity_loss);
     }},
    {{"msr", "router/msr", "share", "(layer, kv head) pairs that ran sparse, mean over documents"},
     Mean{&DocumentFigures::msr},
     msr_line},
    {{"msr_by_task", "router/msr", "share", "the same of each task's documents"},
     ByTask{&DocumentFigures::msr}},
    {{"esr_last_layer_last_query", "", "share",
      "keys that the last query skips in the last layer, mean over documents"},
     Mean{&DocumentFigures::esr_last_layer_last_query}},
    {{"esr_all_layers_last_query", "", "share", "the same in all layers"},
     Mean{&DocumentFigures::esr_all_layers_last_query}},
    {{"esr_all_layers_area", "router/esr", "share",
      "query-key pairs skipped in all layers, mean over documents"},
     Mean{&DocumentFigures::esr_all_layers_area}},
    {{"esr_tiles", "", "share",
      "64 x 64 tiles skipped, as counted ([routed attention](attention.md))"},
     Mean{&DocumentFigures::esr_tiles}},
    {{"esr_by_task", "router/esr", "share", "`esr_all_layers_area` of each task's documents"},
     ByTask{&DocumentFigures::esr_all_layers_area}},
    {{"entropy_by_task", "router/entropy", "nats",
      "binary entropy of the gates' probability; where routers train"},
     ByTask{&DocumentFigures::entropy, true}},
    {{"target_by_task", "router/target", "share", "the objective's target of `msr`"},
     Told(of_objective<targets>)},
    {{"lambda1", "router/lambda1", "", "the objective's multiplier of the deviation, by task"},
     Told(of_objective<lambda1>)},
    {{"lambda2", "router/lambda2", "",
      "the objective's multiplier of the squared deviation, by task"},
     Told(of_objective<lambda2>)},
    {{"tau", "router/tau", "",
      "temperature of the gates; mean over the layers where it is learned"},
     Told([](R r) -> Maybe {
       if (r.objective == nullptr) return {};
       return r.result.tau;
     })},
};

template <double ExpertBalance::*field>
Maybe of_experts(R r) {
  if (!r.result.experts) return {};
  return *r.result.experts.*field;
}

const Figure kRun[] = {
    {{"expert_load_max", "experts/load_max", "ratio",
      "of a mixture of experts: tokens of the expert that got the most over the mean of its "
      "layer's; "
      "mean over layers"},
     Told(of_experts<&ExpertBalance::max>)},
    {{"expert_load_variation", "experts/load_variation", "ratio",
      "standard deviation of the tokens that a layer's experts got over their mean; mean over "
      "layers"},
     Told(of_experts<&ExpertBalance::variation>)},
    {{"epoch", "", "passes", "through the data so far; absent where data is made on the fly"},
     Told([](R r) -> Maybe {
       if (!r.passes) return {};
       return *r.passes;
     })},
    {{"lr", "", "", "the first that is there of the learning rates below"},
     Told([](R r) -> Maybe { return leading_rate(r); }),
     [](R r) { return fmt::format("lr {:.1e}", leading_rate(r)); }},
    {{rate_name(ParameterGroup::lora), "train/lr/lora", "", "learning rate of adapters"},
     Told(rate<ParameterGroup::lora>)},
    {{rate_name(ParameterGroup::backbone), "train/lr/backbone", "", "of the backbone"},
     Told(rate<ParameterGroup::backbone>)},
    {{rate_name(ParameterGroup::head), "train/lr/head", "", "of the reward head"},
     Told(rate<ParameterGroup::head>)},
    {{rate_name(ParameterGroup::router), "train/lr/router", "", "of the routers"},
     Told(rate<ParameterGroup::router>)},
    {{rate_name(ParameterGroup::lambda), "train/lr/lambda", "", "of the objective's multipliers"},
     Told(rate<ParameterGroup::lambda>)},
    {{"grad_norm", "train/grad_norm", "", "norm of all gradients, before clipping"},
     Told([](R r) -> Maybe { return r.result.grad_norm; }),
     [](R r) { return fmt::format("grad_norm {:.2f}", r.result.grad_norm); }},
    {{"tokens", "", "tokens", "of the step, all ranks"}, Count{&StepSums::tokens}},
    {{"labels", "", "tokens", "that the loss is of"}, Count{&StepSums::labels}},
    {{"tokens_per_second", "perf/tokens_per_second", "1/s", "since the last logged step"},
     Told([](R r) -> Maybe { return r.per_second(double(r.tokens)); }),
     [](R r) { return fmt::format("{:.0f} tok/s", r.per_second(double(r.tokens))); }},
    {{"predicted_imbalance", "perf/predicted_imbalance", "ratio",
      "most operations that a data rank has to do in the step over the mean, as predicted"},
     Told([](R r) -> Maybe { return r.result.predicted_imbalance; })},
    {{"imbalance", "perf/imbalance", "ratio",
      "the same of the seconds that its micro batches took"},
     Told([](R r) -> Maybe { return r.result.imbalance; })},
    {{"step_seconds", "perf/step_seconds", "s", "mean since the last logged step"},
     Told([](R r) -> Maybe { return r.seconds / double(std::max<int64_t>(r.steps, 1)); })},
    {{"peak_memory_bytes", "memory/peak_bytes", "bytes", "tensors of rank 0, since the start"},
     Told([](R r) -> Maybe { return r.peak_bytes; }),
     [](R r) { return fmt::format("peak {:.0f} MiB", double(r.peak_bytes) / double(1 << 20)); }},
    {{"flops_done_fraction", "perf/flops_done_fraction", "share",
      "operations done over what the GPUs can do; of GPUs whose peak is known"},
     Told(measured<&StepReport::flops_done_fraction>)},
    {{"dense_equivalent_tflops", "perf/dense_equivalent_tflops", "10^12/s",
      "operations that full attention would have taken, per GPU"},
     Told(measured<&StepReport::dense_equivalent_tflops>)},
};

// The value, or nothing where the run has none.
struct ValueOf {
  const StepReport& r;
  std::optional<FigureValue> operator()(const Mean& f) const { return r.result.all.*f.field; }
  std::optional<FigureValue> operator()(const ByTask& f) const {
    if (f.of_routers && r.objective == nullptr) return {};
    FigureValue map = FigureValue::object();
    for (size_t t = 0; t < r.result.task.size(); ++t) {
      if (r.result.task[t].documents == 0) continue;
      map[data::kTaskNames[t]] = r.result.task[t].*f.field;
    }
    return map;
  }
  std::optional<FigureValue> operator()(const Sum& f) const { return r.result.sums.*f.field; }
  std::optional<FigureValue> operator()(const Count& f) const {
    return int64_t(r.result.sums.*f.field);
  }
  std::optional<FigureValue> operator()(Told told) const { return told(r); }
};

}  // namespace

std::vector<Figure> step_figures(const ObjectiveFigures& objective) {
  std::vector<Figure> table;
  for (const std::span<const Figure> part :
       {std::span<const Figure>(kLoss), objective.loss, std::span<const Figure>(kSparsity),
        objective.of_step, std::span<const Figure>(kRun)}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  return table;
}

std::vector<FigureText> common_figures() {
  const auto table = step_figures({});
  return {table.begin(), table.end()};
}

std::vector<MeanFigure> mean_figures() {
  std::vector<MeanFigure> means;
  for (const Figure& f : kSparsity) {
    if (const Mean* mean = std::get_if<Mean>(&f.from)) means.push_back({f.name, mean->field});
  }
  return means;
}

FigureValue metrics_object(std::span<const Figure> table, const StepReport& report) {
  FigureValue object = {{"step", report.step}};
  for (const Figure& figure : table) {
    if (auto value = std::visit(ValueOf{report}, figure.from)) {
      object[std::string(figure.name)] = std::move(*value);
    }
  }
  return object;
}

std::string progress_line(std::span<const Figure> table, const StepReport& report) {
  const int64_t steps = report.config.train.steps;
  std::string line = fmt::format("step {}/{}", report.step, steps);
  for (const Figure& figure : table) {
    const std::string part = figure.line == nullptr ? "" : figure.line(report);
    if (!part.empty()) line += " | " + part;
  }
  return line + " | eta " + duration(report.seconds_per_step * double(steps - report.step));
}

std::map<std::string, double> scalars_by_tag(const FigureValue& metrics,
                                             std::span<const FigureText> figures) {
  std::map<std::string, double> scalars;
  const auto add = [&](const std::string& tag, const FigureValue& value) {
    if (value.is_number()) scalars[tag] = value.get<double>();
  };
  for (const FigureText& figure : figures) {
    const auto found = metrics.find(std::string(figure.name));
    if (figure.tag.empty() || found == metrics.end()) continue;
    add(std::string(figure.tag), *found);
    if (!found->is_object()) continue;
    for (const auto& [name, value] : found->items()) {
      add(std::string(figure.tag) + "/" + name, value);
    }
  }
  return scalars;
}

}  // namespace elastron::train
