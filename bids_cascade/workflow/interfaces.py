"""nipype interfaces: each a shell around a tested function."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from bids_cascade import __version__
from bids_cascade.config import NORMALISATIONS
from bids_cascade.errors import BadDataError


class StepInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Input of every step: a new version of the app repeats all steps."""

    version = traits.Str(__version__, usedefault=True, desc="version of the app")


class Step(SimpleInterface):  # type: ignore[misc]
    """An interface whose :meth:`step` returns its outputs by name."""

    def _run_interface(self, runtime: Any) -> Any:
        try:
            self._results.update(self.step(Path(runtime.cwd)))
        except ValueError as error:
            raise BadDataError(str(error)) from error
        return runtime

    def step(self, folder: Path) -> dict[str, Any]:
        """Do the work, writing files into `folder`."""
        raise NotImplementedError


def _image(path: str) -> nib.Nifti1Image:
    """Open an image that an earlier step has written."""
    return nib.Nifti1Image.from_filename(path)


def _save(image: nib.Nifti1Image, path: Path, dtype: type[np.generic]) -> str:
    """Write an image; return its path, as nipype wants it."""
    from bids_cascade.imaging.images import save_image

    save_image(np.asarray(image.dataobj), image.affine, path, dtype)
    return str(path)


class FindBrainInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True, desc="T1-weighted image, or FLAIR")
    sequence = traits.Enum("T1w", "FLAIR", usedefault=True, desc="which of them")
    mode = traits.Enum("auto", "skip", "force", usedefault=True, desc="how to find the brain")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads")


class FindBrainOutputSpec(TraitedSpec):  # type: ignore[misc]
    mask = File(exists=True, desc="brain mask on the grid of the image")
    method = traits.Str(desc="deepbet or nonzero")


class FindBrain(Step):
    """Brain mask of a T1-weighted image, or of a FLAIR."""

    input_spec, output_spec = FindBrainInputSpec, FindBrainOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.imaging.brain.brain_mask`."""
        from bids_cascade.imaging.brain import brain_mask
        from bids_cascade.imaging.intensity import load_scan

        spec = self.inputs
        brain = brain_mask(load_scan(spec.image), spec.mode, spec.n_threads, spec.sequence)
        return {"mask": _save(brain.mask, folder / "mask.nii", np.uint8), "method": brain.method}


class RegisterInputSpec(StepInputSpec):
    moving = File(exists=True, mandatory=True, desc="image to register")
    t1w = File(exists=True, mandatory=True, desc="T1-weighted image to register it to")
    mask = File(exists=True, mandatory=True, desc="brain mask of the T1w image")
    seed = traits.Int(0, usedefault=True, desc="random seed")


class RegisterOutputSpec(TraitedSpec):  # type: ignore[misc]
    transform = File(exists=True, desc="ITK text file that maps points of the T1w image to the moving image")
    quality = traits.Float(desc="similarity within the brain")
    flags = traits.Dict(desc="what should be looked at, by quality flag")


class Register(Step):
    """Rigid registration of another sequence to the T1-weighted image."""

    input_spec, output_spec = RegisterInputSpec, RegisterOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.imaging.registration.register_rigid`."""
        from bids_cascade.imaging.intensity import load_scan
        from bids_cascade.imaging.registration import register_rigid, write_itk_transform

        moving, t1w = load_scan(self.inputs.moving), load_scan(self.inputs.t1w)
        registration = register_rigid(moving, t1w, _image(self.inputs.mask), self.inputs.seed)
        write_itk_transform(registration.fixed_to_moving, folder / "transform.txt")
        flags = registration.flags(Path(self.inputs.moving).name)
        return {"transform": str(folder / "transform.txt"), "quality": registration.quality, "flags": flags}


class CorrectBiasInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True, desc="image")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the T1w image")
    transform = InputMultiObject(File(exists=True), desc="maps points of the T1w image to the image; none for itself")


class CorrectBiasOutputSpec(TraitedSpec):  # type: ignore[misc]
    corrected = File(exists=True, desc="image without its bias field, on its own grid")


class CorrectBias(Step):
    """N4 bias field correction inside the brain."""

    input_spec, output_spec = CorrectBiasInputSpec, CorrectBiasOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.imaging.bias.correct_scan`."""
        from bids_cascade.imaging.bias import correct_scan
        from bids_cascade.imaging.intensity import load_scan

        spec = self.inputs
        corrected = correct_scan(load_scan(spec.image), _image(spec.mask), _own_transform(spec))
        return {"corrected": _save(corrected, folder / "corrected.nii", np.float32)}


class StackChannelsInputSpec(StepInputSpec):
    images = InputMultiObject(File(exists=True), mandatory=True, desc="corrected images, the T1w image first")
    transforms = InputMultiObject(File(exists=True), desc="map points of the T1w image to each of the other images")
    sequences = InputMultiObject(traits.Str, mandatory=True, desc="of the images, T1w first")
    names = InputMultiObject(traits.Str, mandatory=True, desc="what to call the images")
    channels = InputMultiObject(traits.Str, mandatory=True, desc="sequence of each channel")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the T1w image")
    voxel_size_mm = traits.Float(1.0, usedefault=True, desc="edge of the model's voxels")
    normalisation = traits.Enum(*NORMALISATIONS, usedefault=True, desc="of the channels")


class StackChannelsOutputSpec(TraitedSpec):  # type: ignore[misc]
    channels = File(exists=True, desc="npy file, (C, X, Y, Z) float32")
    brain = File(exists=True, desc="brain mask on the model's grid")
    contrast = traits.Dict(desc="of each sequence, see measure_contrast")


class StackChannels(Step):
    """Normalised sequences on the model's grid."""

    input_spec, output_spec = StackChannelsInputSpec, StackChannelsOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.imaging.channels.stack_channels`."""
        from bids_cascade.imaging.channels import save_channels, stack_channels
        from bids_cascade.imaging.contrast import check_contrast

        spec, transforms, mask = self.inputs, _read_transforms(self.inputs.transforms), _image(self.inputs.mask)
        images = dict(zip(spec.sequences, map(_image, spec.images), strict=True))
        size_mm, names = spec.voxel_size_mm, spec.channels
        channels, brain, contrast = stack_channels(images, transforms, mask, size_mm, names, spec.normalisation)
        check_contrast(contrast, dict(zip(spec.sequences, spec.names, strict=True)))
        return {**save_channels(channels, brain, folder), "contrast": contrast}


class SegmentInputSpec(StepInputSpec):
    channels = File(exists=True, mandatory=True, desc="npy file, (C, X, Y, Z) float32")
    brain = File(exists=True, mandatory=True, desc="brain mask on the model's grid")
    model = File(exists=True, mandatory=True, desc="model file")
    model_sha256 = traits.Str(mandatory=True, desc="of the model file")
    half_precision = traits.Bool(False, usedefault=True, desc="compute in half precision")
    device = traits.Str("cpu", usedefault=True, nohash=True, desc="torch device")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="tells nipype to count this node's GPU")
    n_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads")


class SegmentOutputSpec(TraitedSpec):  # type: ignore[misc]
    probability = File(exists=True, desc="final lesion probability on the model's grid")
    first_probability = File(exists=True, desc="stage 1's lesion probability on the model's grid")
    members = traits.List(File(exists=True), desc="each cascade's own probability there; none of a single cascade")
    uncertainty = traits.List(File(exists=True), desc="one map of what the cascades disagree on, or none")


class Segment(Step):
    """The cascade, or several."""

    input_spec, output_spec = SegmentInputSpec, SegmentOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.cascade.ensemble.segment_by_ensemble`."""
        from bids_cascade.cascade.engine import lesion_probability, torch_threads
        from bids_cascade.cascade.ensemble import segment_by_ensemble
        from bids_cascade.imaging.images import mask_of
        from bids_cascade.lesions.maps import save_maps
        from bids_cascade.models.store import load_ensemble

        spec, brain, channels = self.inputs, _image(self.inputs.brain), np.load(self.inputs.channels)
        engine = partial(lesion_probability, device=spec.device, half=spec.half_precision)
        with torch_threads(spec.n_threads):
            volumes = segment_by_ensemble(load_ensemble(Path(spec.model)), channels, mask_of(brain), engine)
        return dict(save_maps(volumes, brain.affine, folder))


class MoveLabelInputSpec(StepInputSpec):
    label = File(exists=True, mandatory=True, desc="manual lesion mask")
    images = InputMultiObject(File(exists=True), mandatory=True, desc="raw images, the T1w image first")
    transforms = InputMultiObject(File(exists=True), desc="map points of the T1w image to each of the other images")
    brain = File(exists=True, mandatory=True, desc="brain mask on the model's grid")


class MoveLabelOutputSpec(TraitedSpec):  # type: ignore[misc]
    lesion = File(exists=True, desc="lesion mask on the model's grid")


class MoveLabel(Step):
    """A manual lesion mask on the model's grid."""

    input_spec, output_spec = MoveLabelInputSpec, MoveLabelOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.imaging.channels.move_label`."""
        from bids_cascade.imaging.channels import move_label
        from bids_cascade.imaging.grid import grid_of

        grid = grid_of(_image(self.inputs.brain))
        transforms = dict(zip(map(Path, self.inputs.images), _read_transforms(self.inputs.transforms), strict=True))
        return {"lesion": _save(move_label(Path(self.inputs.label), transforms, grid), folder / "lesion.nii", np.uint8)}


class PackImageInputSpec(StepInputSpec):
    image = File(exists=True, mandatory=True, desc="corrected image")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the T1w image")
    transform = InputMultiObject(File(exists=True), desc="maps points of the T1w image to the image; none for itself")


class PackImageOutputSpec(TraitedSpec):  # type: ignore[misc]
    packed = File(exists=True, desc="image on the grid of the T1w image, compressed")


class PackImage(Step):
    """A sequence on the grid of the T1w image, as the derivative dataset has it."""

    input_spec, output_spec = PackImageInputSpec, PackImageOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.imaging.grid.resample`."""
        from bids_cascade.imaging.grid import grid_of, resample

        spec = self.inputs
        resampled = resample(_image(spec.image), grid_of(_image(spec.mask)), 1, _own_transform(spec))
        return {"packed": _save(resampled, folder / "packed.nii.gz", np.float32)}


class FindLesionsInputSpec(StepInputSpec):
    probability = File(exists=True, mandatory=True, desc="lesion probability on the model's grid")
    members = InputMultiObject(File(exists=True), desc="each cascade's own, of several")
    images = InputMultiObject(File(exists=True), mandatory=True, desc="corrected images, the T1w image first")
    sequences = InputMultiObject(traits.Str, mandatory=True, desc="of the images, T1w first")
    transforms = InputMultiObject(File(exists=True), desc="map points of the T1w image to each of the other images")
    spaces = InputMultiObject(traits.Str, mandatory=True, desc="sequences on whose grids to look, T1w first")
    rule = traits.Any(mandatory=True, desc="bids_cascade.config.LesionRule")


class FindLesionsOutputSpec(TraitedSpec):  # type: ignore[misc]
    lesions = File(exists=True, desc="JSON file of bids_cascade.lesions.visit.VisitLesions")


class FindLesions(Step):
    """The lesions of the visit, on the grids of its images."""

    input_spec, output_spec = FindLesionsInputSpec, FindLesionsOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.lesions.visit.find_visit_lesions`."""
        from bids_cascade.imaging.grid import grid_of
        from bids_cascade.lesions.visit import find_visit_lesions, save_lesions

        spec = self.inputs
        transforms = dict(zip(spec.sequences, _read_transforms(spec.transforms), strict=True))
        images = dict(zip(spec.sequences, spec.images, strict=True))
        grids = {name: grid_of(_image(images[name])) for name in spec.spaces}
        lesions = find_visit_lesions(_image(spec.probability), grids, transforms, spec.rule, _images(spec.members))
        return {"lesions": str(save_lesions(lesions, folder / "lesions.json"))}


class RegisterTemplateInputSpec(StepInputSpec):
    channels = File(exists=True, mandatory=True, desc="npy file, (C, X, Y, Z) float32")
    sequences = InputMultiObject(traits.Str, mandatory=True, desc="of the channels")
    brain = File(exists=True, mandatory=True, desc="brain mask on the model's grid")
    normalisation = traits.Enum(*NORMALISATIONS, usedefault=True, desc="of the channels")
    seed = traits.Int(0, usedefault=True, desc="random seed")
    template = traits.Str(mandatory=True, desc="name of the template")


class RegisterTemplateOutputSpec(TraitedSpec):  # type: ignore[misc]
    space = traits.Any(desc="bids_cascade.derivatives.spaces.TemplateSpace")


class RegisterTemplate(Step):
    """Deformable registration to the template; its failure does not stop the visit."""

    input_spec, output_spec = RegisterTemplateInputSpec, RegisterTemplateOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.derivatives.spaces.register_space`."""
        from bids_cascade.derivatives.spaces import register_space

        spec = self.inputs
        return {"space": register_space(spec.template, *_read_channels(spec), folder, spec.seed)}


class FindAnatomyInputSpec(StepInputSpec):
    channels = File(exists=True, mandatory=True, desc="npy file, (C, X, Y, Z) float32")
    sequences = InputMultiObject(traits.Str, mandatory=True, desc="of the channels")
    brain = File(exists=True, mandatory=True, desc="brain mask on the model's grid")
    normalisation = traits.Enum(*NORMALISATIONS, usedefault=True, desc="of the channels")
    probability = File(exists=True, mandatory=True, desc="lesion probability on the model's grid")
    rule = traits.Any(mandatory=True, desc="bids_cascade.config.LesionRule")
    space = traits.Any(mandatory=True, desc="bids_cascade.derivatives.spaces.TemplateSpace of the built-in template")


class FindAnatomyOutputSpec(TraitedSpec):  # type: ignore[misc]
    anatomy = File(exists=True, desc="JSON file of bids_cascade.anatomy.visit.VisitAnatomy")


class FindAnatomy(Step):
    """Structures of the brain; a flag says so if they can't be found, which does not stop the visit."""

    input_spec, output_spec = FindAnatomyInputSpec, FindAnatomyOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.derivatives.spaces.anatomy_in`."""
        from bids_cascade.anatomy.visit import save_anatomy
        from bids_cascade.derivatives.spaces import anatomy_in
        from bids_cascade.imaging.grid import grid_of
        from bids_cascade.lesions.visit import find_lesions

        spec = self.inputs
        channels, brain, sequences = _read_channels(spec)
        _, lesion = find_lesions(_image(spec.probability), grid_of(brain), np.eye(4), spec.rule)
        save_anatomy(anatomy_in(spec.space, channels, brain, sequences, lesion), folder / "anatomy.json")
        return {"anatomy": str(folder / "anatomy.json")}


class WriteOutputsInputSpec(StepInputSpec):
    plan = traits.Any(mandatory=True, desc="bids_cascade.derivatives.plan.OutputPlan")
    packed = InputMultiObject(File(exists=True), mandatory=True, desc="images on the T1w image's grid, compressed")
    transforms = InputMultiObject(File(exists=True), desc="map points of the T1w image to each of the other images")
    qualities = InputMultiObject(traits.Float, desc="similarity of each registration")
    flags = InputMultiObject(traits.Dict, desc="what should be looked at, by quality flag, found by each registration")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the T1w image")
    mask_method = traits.Str(mandatory=True, desc="deepbet or nonzero")
    lesions = File(exists=True, mandatory=True, desc="JSON file of bids_cascade.lesions.visit.VisitLesions")
    uncertainty = InputMultiObject(File(exists=True), desc="one map of what the cascades disagree on, or none")
    anatomy = File(exists=True, desc="JSON file of bids_cascade.anatomy.visit.VisitAnatomy")
    spaces = InputMultiObject(traits.Any, desc="bids_cascade.derivatives.spaces.TemplateSpace of each asked for")


class WriteOutputsOutputSpec(TraitedSpec):  # type: ignore[misc]
    stats = File(exists=True, desc="table of the visit's volumes, written last")


class WriteOutputs(Step):
    """The visit's files in the derivative dataset."""

    input_spec, output_spec = WriteOutputsInputSpec, WriteOutputsOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.derivatives.write.write_outputs`."""
        from bids_cascade.derivatives.visit_images import load_visit_images
        from bids_cascade.derivatives.write import write_outputs

        images = load_visit_images(self.inputs.get_traitsfree())  # without those that are undefined
        return {"stats": str(write_outputs(self.inputs.plan, images))}


class DrawScanInputSpec(StepInputSpec):
    sequence = traits.Str(mandatory=True, desc="of the image")
    raw = File(exists=True, mandatory=True, desc="raw image")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the T1w image")
    t1w = File(exists=True, mandatory=True, desc="corrected T1w image")
    transform = File(exists=True, desc="maps points of the T1w image to the image; none for itself")
    quality = traits.Float(desc="similarity after registration; none for the T1w image itself")


class DrawScanOutputSpec(TraitedSpec):  # type: ignore[misc]
    files = traits.List(File(exists=True), desc="figure, such as desc-brain_T1w.svg")
    measured = traits.Dict(desc="quality measures")


class DrawScan(Step):
    """Figure of one sequence's alignment, and its quality measures; neither needs bias correction."""

    input_spec, output_spec = DrawScanInputSpec, DrawScanOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.report.visit.draw_scan` and :func:`bids_cascade.imaging.quality.measure_raw`."""
        from bids_cascade.imaging.images import load_image
        from bids_cascade.imaging.quality import measure_raw
        from bids_cascade.imaging.scan import make_scan
        from bids_cascade.report.visit import draw_scan

        spec, brain = self.inputs, nib.as_closest_canonical(_image(self.inputs.mask))
        quality = spec.quality if isdefined(spec.quality) else None
        scan, measured = measure_raw(load_image(spec.raw), brain, _own_transform(spec), quality, spec.sequence)
        t1w = make_scan(_image(spec.t1w), brain, np.eye(4))
        files = draw_scan(spec.sequence, t1w, folder, scan if isdefined(spec.transform) else None)
        return {"files": [str(path) for path in files], "measured": measured}


class DrawFieldInputSpec(StepInputSpec):
    sequence = traits.Str(mandatory=True, desc="of the image")
    raw = File(exists=True, mandatory=True, desc="raw image")
    image = File(exists=True, mandatory=True, desc="corrected image")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the T1w image")
    transform = File(exists=True, desc="maps points of the T1w image to the image; none for itself")
    after = traits.Any(nohash=True, desc="what is more urgent")


class DrawFieldOutputSpec(TraitedSpec):  # type: ignore[misc]
    files = traits.List(File(exists=True), desc="figure, such as desc-bias_T1w.svg")


class DrawField(Step):
    """Figure of one sequence's bias field."""

    input_spec, output_spec = DrawFieldInputSpec, DrawFieldOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.report.visit.draw_field`."""
        from bids_cascade.imaging.intensity import load_scan
        from bids_cascade.imaging.scan import make_scan
        from bids_cascade.report.visit import draw_field

        spec = self.inputs
        scan = make_scan(_image(spec.image), _image(spec.mask), _own_transform(spec))
        files = draw_field(spec.sequence, nib.as_closest_canonical(load_scan(spec.raw)), scan, folder)
        return {"files": [str(path) for path in files]}


class DrawAnatomyInputSpec(StepInputSpec):
    sequence = traits.Str("T1w", usedefault=True, desc="on whose grid the results are")
    image = File(exists=True, mandatory=True, desc="corrected image of that sequence")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the image")
    lesions = File(exists=True, mandatory=True, desc="JSON file of bids_cascade.lesions.visit.VisitLesions")
    anatomy = File(exists=True, mandatory=True, desc="JSON file of bids_cascade.anatomy.visit.VisitAnatomy")


class DrawAnatomyOutputSpec(TraitedSpec):  # type: ignore[misc]
    files = traits.List(File(exists=True), desc="figure, such as desc-anatomy_T1w.svg, or none")
    locations = traits.List(traits.Str, desc="where each lesion is; none where there are no structures")


class DrawAnatomy(Step):
    """Figure of ventricles, cortex and cerebellum, where they were found."""

    input_spec, output_spec = DrawAnatomyInputSpec, DrawAnatomyOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.report.visit.draw_regions`."""
        from bids_cascade.anatomy.visit import load_anatomy
        from bids_cascade.imaging.scan import make_scan
        from bids_cascade.lesions.visit import load_lesions
        from bids_cascade.report.visit import draw_regions

        spec = self.inputs
        scan = make_scan(_image(spec.image), _image(spec.mask), np.eye(4))
        structures, labels = load_anatomy(Path(spec.anatomy)).structures, load_lesions(Path(spec.lesions)).labels
        files, locations = draw_regions(spec.sequence, scan, structures, labels, folder)
        return {"files": [str(path) for path in files], "locations": locations}


_MAPS = ("first_probability", "uncertainty", "t1w")
"""Inputs of the lesions' figures that are resampled onto the grid of the displayed sequence."""


class DrawFindingsInputSpec(StepInputSpec):
    sequence = traits.Str(mandatory=True, desc="to show the lesions on")
    image = File(exists=True, mandatory=True, desc="corrected image of that sequence")
    t1w = File(exists=True, desc="corrected T1w image, if that is another one")
    mask = File(exists=True, mandatory=True, desc="brain mask on the grid of the T1w image")
    transform = File(exists=True, desc="maps points of the T1w image to the image; none for itself")
    lesions = File(exists=True, mandatory=True, desc="JSON file of bids_cascade.lesions.visit.VisitLesions")
    first_probability = File(exists=True, mandatory=True, desc="stage 1's lesion probability on the model's grid")
    uncertainty = InputMultiObject(File(exists=True), desc="one map of what the cascades disagree on, or none")
    gate = traits.Tuple(traits.Float, traits.Float, mandatory=True, desc="how far stage 2 looks, and from where")
    locations = traits.List(traits.Str, usedefault=True, desc="where each lesion is; empty where that is not known")


class DrawFindingsOutputSpec(TraitedSpec):  # type: ignore[misc]
    files = traits.List(File(exists=True), desc="figures, such as desc-lesions_FLAIR.svg")
    contrast = traits.Any(desc="of the lesions with the brain around them; None if there is nothing to measure")


class DrawFindings(Step):
    """Figures of the lesions, the viewer, and their contrast."""

    input_spec, output_spec = DrawFindingsInputSpec, DrawFindingsOutputSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.report.visit.draw_findings`."""
        from bids_cascade.imaging.quality import lesion_contrast
        from bids_cascade.imaging.scan import make_scan
        from bids_cascade.lesions.visit import load_lesions
        from bids_cascade.report.findings import gather_findings
        from bids_cascade.report.visit import draw_findings

        spec, lesions = self.inputs, load_lesions(Path(self.inputs.lesions))
        scan = make_scan(_image(spec.image), _image(spec.mask), _own_transform(spec))
        maps = {name: image for name in _MAPS for image in _images(getattr(spec, name))}
        findings = gather_findings(spec.sequence, scan, lesions, maps, spec.gate, spec.locations)
        contrast = lesion_contrast(scan, findings.lesion)
        return {"files": [str(path) for path in draw_findings(findings, folder)], "contrast": contrast}


class PublishReportInputSpec(StepInputSpec):
    plan = traits.Any(mandatory=True, desc="bids_cascade.derivatives.plan.OutputPlan")
    files = InputMultiObject(File(exists=True), mandatory=True, desc="figures")
    measured = InputMultiObject(traits.Dict, mandatory=True, desc="quality measures of each image, the T1w image first")
    sequences = traits.Dict(mandatory=True, desc="contrast of each sequence, by name")
    contrast = traits.Any(mandatory=True, desc="of the lesions; None if there is nothing to measure")
    flags = InputMultiObject(traits.Dict, desc="what should be looked at, by quality flag, found by each registration")
    stats = File(exists=True, mandatory=True, desc="table of the visit's volumes: the results are there")
    anatomy = File(exists=True, desc="JSON file of bids_cascade.anatomy.visit.VisitAnatomy")
    spaces = InputMultiObject(traits.Any, desc="bids_cascade.derivatives.spaces.TemplateSpace of each asked for")


class PublishReport(Step):
    """The visit's figures and quality measures in the derivative dataset."""

    input_spec, output_spec = PublishReportInputSpec, TraitedSpec

    def step(self, folder: Path) -> dict[str, Any]:
        """See :func:`bids_cascade.derivatives.write.publish_report`."""
        from bids_cascade.derivatives.write import publish_report
        from bids_cascade.derivatives.written import read_agreement
        from bids_cascade.imaging.quality import join_measures
        from bids_cascade.report.visit import write_quality

        spec, plan = self.inputs, self.inputs.plan
        measured = join_measures(dict(zip(plan.visit.images, spec.measured, strict=True)), spec.sequences)
        flags, agreement = plan.joined_flags(_read_flags(spec)), read_agreement(plan)
        quality = write_quality(measured, spec.contrast, flags, folder, agreement)
        publish_report(plan, [*map(Path, spec.files), *quality])
        return {}


def _read_channels(spec: Any) -> tuple[Any, nib.Nifti1Image, list[str]]:
    """Return the channels that have an image, with white matter 1, the brain mask, and the sequences."""
    from bids_cascade.imaging.channels import present_channels

    brain = _image(spec.brain)
    channels, sequences = present_channels(np.load(spec.channels), brain, spec.sequences, spec.normalisation)
    return channels, brain, sequences


def _read_flags(spec: Any) -> list[dict[str, str]]:
    """Return the quality flags of each registration, of the anatomy, and of each template's space."""
    from bids_cascade.anatomy.visit import load_anatomy

    of_anatomy = [load_anatomy(Path(spec.anatomy)).flags] if isdefined(spec.anatomy) else []
    return [*_given(spec.flags), *of_anatomy, *(space.flags for space in _given(spec.spaces))]


def _given(values: Any) -> list[Any]:
    """Return the values of an input as a list, which is empty where the input is undefined."""
    if not isdefined(values):
        return []
    return [values] if isinstance(values, str) else list(values)


def _images(paths: Any) -> list[nib.Nifti1Image]:
    """Open the images of an input: one path, several or none."""
    return [_image(path) for path in _given(paths)]


def _read_transforms(paths: Any) -> list[Any]:
    """Return the matrices that map points of the T1w image to each image, itself first."""
    from bids_cascade.imaging.registration import read_itk_transform

    return [np.eye(4), *(read_itk_transform(Path(path)) for path in _given(paths))]


def _own_transform(spec: Any) -> Any:
    """Return the matrix that maps points of the T1w image to the image of a step, which may be that one."""
    return _read_transforms(spec.transform)[-1]
