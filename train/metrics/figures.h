// The table of figures: what is told of a step, in the order in which metrics.jsonl has it. A row
// says where its number comes from, its TensorBoard tag, its unit and what it means; the metrics
// file, the event file, the progress line, `elastron eval` and docs/figures.md all follow from it.
//
// To add a figure: a member in the struct that it is computed into (StepSums or DocumentFigures,
// which are reduced over ranks as they stand), and a row here.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/json.h"
#include "router/objective.h"
#include "train/config.h"
#include "train/step/step_result.h"

namespace elastron::train {

// A number, an object of numbers by task or kind, or null.
using FigureValue = nlohmann::ordered_json;

// A logged step, with what was measured since the last one.
struct StepReport {
  int64_t step;  // steps done
  const Config& config;
  const StepResult& result;
  const router::SparsityObjective* objective;  // null: no router trains
  std::optional<double> passes;                // through the data, where it has an end
  double seconds = 0;                          // since the last logged step
  int64_t steps = 0, tokens = 0;               // likewise
  std::vector<double> loss_sums;               // likewise: StepResult::loss_sums of all the steps
  double seconds_per_step = 0;                 // of the run so far
  int64_t peak_bytes = 0;
  std::optional<double> flops_done_fraction, dense_equivalent_tflops;  // of GPUs

  double per_second(double count) const { return seconds > 0 ? count / seconds : 0; }
};

// The source of a figure, which is also how it was reduced.
struct Mean {  // over the documents of the step
  double DocumentFigures::*field;
};
struct ByTask {  // the same of each task that had documents
  double DocumentFigures::*field;
  bool of_routers = false;  // only where routers train
};
struct Sum {  // over micro batches and data ranks
  double StepSums::*field;
};
struct Count {  // the same of whole numbers
  double StepSums::*field;
};
// The same on all ranks, or measured on the one that speaks. Nothing where the run has no such
// figure.
using Told = std::optional<FigureValue> (*)(const StepReport&);

// Name and meaning of a figure, wherever it comes from. An object's keys are appended to its tag;
// without a tag it is not in TensorBoard.
struct FigureText {
  std::string_view name, tag, unit, meaning;
};

struct Figure : FigureText {
  std::variant<Mean, ByTask, Sum, Count, Told> from;
  // Its part of the progress line; null, or an empty text: none.
  std::string (*line)(const StepReport&) = nullptr;
};

// Figures of something else than a step, such as an evaluation.
template <class Report>
struct FigureOf : FigureText {
  FigureValue (*value)(const Report&);
};
template <class Report>
FigureValue figures_of(std::span<const FigureOf<Report>> table, const Report& report) {
  FigureValue object = FigureValue::object();
  for (const auto& figure : table) object[std::string(figure.name)] = figure.value(report);
  return object;
}
template <class Row>
std::vector<FigureText> texts_of(std::span<const Row> table) {
  return {table.begin(), table.end()};
}

// The figures of an objective, which stand among those that all have.
struct ObjectiveFigures {
  std::span<const Figure> loss;           // behind `loss`
  std::span<const Figure> of_step;        // behind the routers'
  std::vector<FigureText> of_evaluation;  // lines with `event: eval`
};

// The step's, in the order of the file.
std::vector<Figure> step_figures(const ObjectiveFigures& objective);
// Those without which none of the objectives' stand here: for docs/figures.md.
std::vector<FigureText> common_figures();

// Means over documents, which an evaluation has too: the table's rows that are.
struct MeanFigure {
  std::string_view name;
  double DocumentFigures::*field;
};
std::vector<MeanFigure> mean_figures();

// The object of a step in metrics.jsonl.
FigureValue metrics_object(std::span<const Figure> table, const StepReport& report);
// "step 3/50 | loss 2.3979 | ...".
std::string progress_line(std::span<const Figure> table, const StepReport& report);

// The numbers of one metrics object by tag, "train/loss", "router/msr/Code". Figures that have no
// tag, or are not finite, are left out.
std::map<std::string, double> scalars_by_tag(const FigureValue& metrics,
                                             std::span<const FigureText> figures);

}  // namespace elastron::train
