"""Inspections as protobuf messages, in generated answers and in those of the glass box."""

from nextword.v1 import token_inspection_pb2 as pb

from service.glass_box.inspection import (
    CandidateInspection,
    InspectionRequest,
    NgramInspection,
    SamplingStage,
    StageInspection,
    TokenInspection,
    TokenView,
)

__all__ = ["inspection_message", "read_inspect", "token_view_message"]

_STAGES = {
    SamplingStage.MODEL: pb.SAMPLING_STAGE_MODEL,
    SamplingStage.PENALTIES: pb.SAMPLING_STAGE_PENALTIES,
    SamplingStage.BIAS: pb.SAMPLING_STAGE_BIAS,
    SamplingStage.TEMPERATURE: pb.SAMPLING_STAGE_TEMPERATURE,
    SamplingStage.TOP_K: pb.SAMPLING_STAGE_TOP_K,
    SamplingStage.TOP_P: pb.SAMPLING_STAGE_TOP_P,
    SamplingStage.MIN_P: pb.SAMPLING_STAGE_MIN_P,
}
_REMOVED_BY = {None: pb.SAMPLING_STAGE_UNSPECIFIED, **_STAGES}


def read_inspect(message: pb.InspectionRequest) -> InspectionRequest:
    """What a field `inspect` asks."""
    usual = InspectionRequest()
    return InspectionRequest(
        candidates=message.candidates if message.HasField("candidates") else usual.candidates,
        logits=message.logits if message.HasField("logits") else usual.logits,
    )


def inspection_message(inspection: TokenInspection) -> pb.TokenInspection:
    """One position of a text."""
    return pb.TokenInspection(
        position=inspection.position,
        token=token_view_message(inspection.token),
        byte_start=inspection.byte_start,
        byte_end=inspection.byte_end,
        ends_text=inspection.ends_text,
        stages=[_stage_message(each) for each in inspection.stages],
        candidates=[_candidate_message(each) for each in inspection.candidates],
        random_word=inspection.random_word,
        random_number=inspection.random_number,
        drawn_token=token_view_message(inspection.drawn_token),
        rank=inspection.rank,
        surprise_bits=inspection.surprise_bits,
        chosen_probability=inspection.chosen_probability,
        logits=inspection.logits,
        ngram=None if inspection.ngram is None else _ngram_message(inspection.ngram),
    )


def token_view_message(token: TokenView) -> pb.TokenView:
    """A token."""
    return pb.TokenView(
        id=token.id, text=token.text, bytes=token.bytes, is_control=token.is_control
    )


def _stage_message(stage: StageInspection) -> pb.StageInspection:
    return pb.StageInspection(
        stage=_STAGES[stage.stage],
        num_kept=stage.num_kept,
        entropy_bits=stage.entropy_bits,
        other_probability=stage.other_probability,
    )


def _candidate_message(candidate: CandidateInspection) -> pb.CandidateInspection:
    return pb.CandidateInspection(
        token=token_view_message(candidate.token),
        logit=candidate.logit,
        changed_logit=candidate.changed_logit,
        probabilities=candidate.probabilities,
        removed_by=_REMOVED_BY[candidate.removed_by],
        line_start=candidate.line_start,
        line_end=candidate.line_end,
    )


def _ngram_message(ngram: NgramInspection) -> pb.NgramInspection:
    return pb.NgramInspection(
        order=ngram.order,
        window=[token_view_message(token) for token in ngram.window],
        levels=[
            pb.NgramLevel(
                order=level.order,
                context_ids=level.context_ids,
                is_known_context=level.is_known_context,
                num_continuations=level.num_continuations,
                discounted_count=level.discounted_count,
                discounted_total=level.discounted_total,
                backoff=level.backoff,
                probability=level.probability,
            )
            for level in ngram.levels
        ],
    )
