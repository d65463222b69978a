// Names that stand for a number through others, and questions on made-up people.
#include <fmt/format.h>

#include <set>

#include "benchmark/synthetic/draft.h"
#include "benchmark/synthetic/lexicon.h"

namespace elastron::benchmark {

namespace {

constexpr int kHops = 4;

std::string name_of_letters(RandomStream& draws) {
  std::string name;
  for (int i = 0; i < 5; ++i) name += char('A' + draws.next_below(26));
  return name;
}

struct Person {
  std::string name, trade, town, teacher;
  uint32_t year = 0;
};

std::string passage(const Person& person) {
  return fmt::format(
      "{0} works as a {1} in the town of {2}. {0} learned the trade from {3}, and took over the "
      "workshop in {4}.",
      person.name, person.trade, person.town, person.teacher, person.year);
}

// No two people of one row are alike: the first ones are asked about, the others fill the text.
class People {
 public:
  explicit People(const Draws& draws)
      : stream_(draws.stream(Draws::For::filler)), first_(stream_.bits_at(0) % kPeople) {}

  std::string name(uint64_t number) const {
    constexpr uint64_t kStride = 8191;  // has no factor in common with kPeople
    return person(uint32_t((first_ + number * kStride) % kPeople));
  }
  Person about(uint64_t number, uint64_t teacher) const {
    const auto bits = [&](uint64_t k) { return stream_.bits_at(4 + number * 4 + k); };
    std::string town = made_up_word(bits(0) % kMadeUpWords);
    town[0] = char(town[0] - 'a' + 'A');
    return {name(number), trade(bits(1)), town, name(teacher), 1960 + bits(2) % 60};
  }

 private:
  RandomStream stream_;
  uint64_t first_;
};

}  // namespace

Draft variables_draft(const Draws& draws, double first_depth) {
  RandomStream needles = draws.stream(Draws::For::needles);
  const std::string value = std::to_string(10000 + needles.next_below(90000));
  Draft draft;
  std::vector<Needle> chain;
  std::set<std::string> taken;
  while (draft.outputs.size() <= size_t(kHops)) {
    const std::string name = name_of_letters(needles);
    if (!taken.insert(name).second) continue;
    const auto hop = double(draft.outputs.size());
    // One after the other, from the first one to the end of the text.
    chain.push_back({first_depth + (1 - first_depth) * hop / (kHops + 1),
                     draft.outputs.empty() ? fmt::format("Let {} stand for {}.", name, value)
                                           : fmt::format("Let {} stand for what {} stands for.",
                                                         name, draft.outputs.back())});
    draft.outputs.push_back(name);
  }
  draft.input = [chain, value](int64_t units) {
    const auto filler = [](int64_t unit) { return noise_sentence(uint64_t(unit)); };
    return fmt::format(
        "In the text below, names are made to stand for a number, one of them directly and others "
        "through a name before them.\n\n{}\n\nQuestion: which {} names stand for {} in the text? "
        "Name all of them.",
        with_needles(filler, units, chain, " "), kHops + 1, value);
  };
  draft.answer_prefix = fmt::format(" The {} names that stand for {} are", kHops + 1, value);
  return draft;
}

Draft question_draft(bool two_steps, const Draws& draws, double first_depth) {
  const People people(draws);
  // Person 0 is asked about and was taught by person 1; who taught whom else is no matter.
  const Person asked = people.about(0, 1), teacher = people.about(1, 2);
  Draft draft;
  std::vector<Needle> facts = {{first_depth, passage(asked)}};
  if (two_steps) {
    const double second = draws.stream(Draws::For::depths).uniform_at(0);
    facts.push_back({second, passage(teacher)});
  }
  draft.outputs = {two_steps ? teacher.town : asked.town};
  const std::string who =
      two_steps ? fmt::format("the person that taught {}", asked.name) : asked.name;
  draft.input = [=](int64_t units) {
    const auto filler = [&](int64_t unit) {
      const auto number = uint64_t(unit) + 3;
      return passage(people.about(number, number + 1));
    };
    return fmt::format(
        "Answer the question by the passages below, with the name of a town and nothing "
        "else.\n\n{}\n\nQuestion: in which town does {} work?",
        with_needles(filler, units, facts, "\n\n"), who);
  };
  draft.answer_prefix = " Answer:";
  return draft;
}

}  // namespace elastron::benchmark
