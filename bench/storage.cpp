// What storing a frozen backbone below 16 bits costs and gives: the CPU seconds of a step of router
// training in turns (all threads), KL of the logits per token, and the cosine of the routers' gradient, against the same
// weights in the run's dtype. A folder's own weights, or random ones of its shapes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "model/router_batch.h"
#include "model/weights/model_folder.h"
#include "ops/elementwise.h"
#include "parallel/mesh.h"
#include "train/evaluate/logits_difference.h"
#include "train/trained_model.h"

namespace elastron {
namespace {

struct Options {
  std::string model, dtype = "float32", storage = "fp8";
  bool random = false;
  int64_t layers = 0, vocabulary = 0, tokens = 1024, documents = 1;
  int turns = 3;
};

struct Step {
  Tensor hidden;
  std::vector<double> gradient;  // of all routers, one after the other
  std::vector<uint8_t> gates;
  double seconds = 0;
};

template <class E>
E named(const std::string& name) {
  for (const auto& entry : config::EnumNames<E>::names) {
    if (entry.name == name) return entry.value;
  }
  throw UsageError("no such name: " + name, "arguments", "see --help");
}

class Subject {
 public:
  Subject(const Options& options, const std::string& storage) {
    config_.model.path = options.model;
    config_.model.dtype = named<train::ComputeDType>(options.dtype);
    config_.model.storage = named<train::WeightsKept>(storage);
    config_.data.max_tokens = options.tokens;
    config_.router.ssa = {.sink = 64, .local = 128, .block = 64};
    model::ModelConfig m = model::read_model_config(options.model, {});
    if (options.layers > 0) m.num_layers = options.layers;
    if (options.vocabulary > 0) m.vocab_size = options.vocabulary;
    model_ = std::make_unique<train::TrainedModel>(config_, m, /*training=*/true, mesh_, device_);
    if (options.random) {
      model_->decoder().initialise(7);
    } else {
      model::ModelFolder(options.model).load(model_->decoder().parameters());
    }
    // The same documents whatever is stored how.
    const RandomStream stream(11, RandomPurpose::test);
    documents_.resize(size_t(options.documents));
    std::vector<const data::Document*> pointers;
    uint64_t drawn = 0;
    for (data::Document& d : documents_) {
      for (int64_t t = 0; t < options.tokens; ++t) {
        d.ids.push_back(int32_t(stream.bits_at(drawn++) % uint32_t(m.vocab_size)));
      }
      d.user_length = options.tokens * 9 / 10;
      pointers.push_back(&d);
    }
    packed_ = data::make_packed_batch(pointers);
    batch_ = model::DeviceBatch::make(packed_, device_);
    routed_ = model_->routed_by_router();
    model_->routers()->append_parameters(routers_);
  }

  Step step() {
    for (Parameter* p : routers_) p->grad.zero();
    const auto router_batch = model::make_router_batch(packed_, config_.router, 0, 1.0, true);
    model::Decoder& d = model_->decoder();
    const std::clock_t begin = std::clock();
    model::SavedForward saved;
    model::RoutedHeads heads;
    Step s;
    s.hidden = d.forward(batch_, router_batch, routed_, {.saved = &saved, .heads = &heads});
    const auto loss = d.loss(
        s.hidden, batch_, {.need_gradient = true, .gradient_scale = 1 / double(packed_.labels())});
    // The objective's own gradient does not depend on the weights, and is left out.
    d.backward(loss.d_hidden, batch_, router_batch, routed_, saved,
               std::vector<Tensor>(size_t(d.config().num_layers)), [](Parameter&) {});
    s.seconds = double(std::clock() - begin) / CLOCKS_PER_SEC;
    for (const Parameter* p : routers_) {
      const auto values = ops::cast(p->grad, DType::f64).to_vector<double>();
      s.gradient.insert(s.gradient.end(), values.begin(), values.end());
    }
    for (const Tensor& g : heads.gates) {
      const auto of_layer = g.to_vector<uint8_t>();
      s.gates.insert(s.gates.end(), of_layer.begin(), of_layer.end());
    }
    return s;
  }

  Tensor logits(const Tensor& hidden, int64_t r0, int64_t r1) {
    return ops::cast(model_->decoder().logits(hidden.slice(0, r0, r1)), DType::f32);
  }
  double bytes() {
    double sum = 0;
    for (const Parameter* p : model_->decoder().parameters()) sum += double(stored_bytes(*p));
    return sum;
  }

 private:
  train::Config config_;
  CpuDevice device_;
  parallel::Mesh mesh_ = parallel::Mesh::single();
  std::unique_ptr<train::TrainedModel> model_;
  std::vector<data::Document> documents_;
  data::PackedBatch packed_;
  model::DeviceBatch batch_;
  std::vector<router::RoutedLayer> routed_;
  ParameterList routers_;
};

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

void run(const Options& options) {
  Subject reference(options, "auto"), subject(options, options.storage);
  Step a = reference.step(), b = subject.step();
  double of_reference = 1e30, of_subject = 1e30;
  for (int turn = 0; turn < options.turns; ++turn) {
    of_reference = std::min(of_reference, reference.step().seconds);
    of_subject = std::min(of_subject, subject.step().seconds);
  }
  train::LogitsDifference difference;
  constexpr int64_t kRows = 64;
  const int64_t rows = options.tokens * options.documents;
  for (int64_t r = 0; r < rows; r += kRows) {
    const int64_t end = std::min(r + kRows, rows);
    difference.add(subject.logits(b.hidden, r, end), reference.logits(a.hidden, r, end));
  }
  size_t flipped = 0;
  for (size_t i = 0; i < a.gates.size(); ++i) flipped += a.gates[i] != b.gates[i] ? 1 : 0;
  parallel::SelfCommunicator alone("alone");
  fmt::print("{} against {}: {:.3f} and {:.3f} GB of weights\n", options.storage, options.dtype,
             subject.bytes() * 1e-9, reference.bytes() * 1e-9);
  fmt::print("{}\n", difference.summary(alone));
  fmt::print("cosine of the routers' gradients {:.5f}, {} of {} gates differ\n",
             cosine(a.gradient, b.gradient), flipped, a.gates.size());
  if (options.turns == 0) return;
  fmt::print("a step {:.3f} and {:.3f} CPU seconds, a ratio of {:.2f}\n", of_subject, of_reference,
             of_subject / of_reference);
}

}  // namespace
}  // namespace elastron

int main(int argc, char** argv) {
  elastron::Options o;
  CLI::App app("storage of frozen weights: quality and time");
  app.add_option("--model", o.model, "model folder")->required();
  app.add_flag("--random", o.random, "random weights of its shapes");
  app.add_option("--layers", o.layers, "that many layers; with --random");
  app.add_option("--vocabulary", o.vocabulary, "that many tokens; with --random");
  app.add_option("--tokens", o.tokens, "of a document");
  app.add_option("--documents", o.documents, "in the batch");
  app.add_option("--dtype", o.dtype, "float32 or bfloat16");
  app.add_option("--storage", o.storage, "fp8, bf16 or fp32");
  app.add_option("--turns", o.turns, "timings of each");
  CLI11_PARSE(app, argc, argv);
  try {
    elastron::run(o);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
