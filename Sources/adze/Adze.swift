import ArgumentParser

@main
struct Adze: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Convert, quantize, pack, run and measure language models.")
}
